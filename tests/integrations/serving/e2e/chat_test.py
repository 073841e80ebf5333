"""fib chat, fed from a pipe."""

import unittest

from fib_program import fib


class Chat(unittest.TestCase):
    def say(self, text, *options):
        done = fib("chat", "--kv-cache", "64M", *options, text=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_seed_repeats_a_conversation(self):
        lines = "It was a dark night, and\nThe old man\n"
        options = ["--max-tokens", "20", "--temperature", "1"]
        first = self.say(lines, *options, "--seed", "7")
        self.assertGreater(len(first), 40)
        self.assertEqual(self.say(lines, *options, "--seed", "7"), first)
        self.assertNotEqual(self.say(lines, *options, "--seed", "8"), first)

    def test_what_is_forgotten_has_no_part_in_the_answer(self):
        options = ["--max-tokens", "12", "--temperature", "0"]
        alone = self.say("The old man\n", *options)
        after = self.say("It was a dark night, and\n/reset\nThe old man\n", *options)
        self.assertTrue(after.endswith(alone), (after, alone))

    def test_nothing_said(self):
        self.assertEqual(self.say(""), "")


if __name__ == "__main__":
    unittest.main()
