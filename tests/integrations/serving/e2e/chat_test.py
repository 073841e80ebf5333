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

    def test_what_is_wrong_is_said_before_the_model_is_loaded(self):
        for option, value in (("--top-k", "-5"), ("--max-tokens", "0"), ("--temperature", "9"),
                              ("--temperature", "nan"), ("--top-p", "0"), ("--seed", "-1")):
            done = fib("chat", "no-such-model", option, value, text="x\n")
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(option, done.stderr)
        done = fib("chat", "--json", text="x\n")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--json", done.stderr)

    def test_a_line_without_an_answer_shows_in_the_exit_code(self):
        done = fib("chat", "--kv-cache", "64M", "--max-tokens", "4",
                   text="bad \udcff\nThe old man\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("error: ", done.stderr)
        self.assertTrue(done.stdout.strip(), "the other line has one")

    def test_nothing_said(self):
        self.assertEqual(self.say(""), "")


if __name__ == "__main__":
    unittest.main()
