// Only for the headers that its target has compiled; see CMakeLists.txt.
int main() {}
