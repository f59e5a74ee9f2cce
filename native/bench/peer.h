/** Another program that takes its turns in a benchmark: a line in, a line out, and first a line that says what it is. */
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace bench {

class Peer {
 public:
  /** Starts a command of the shell. Null, or a command that ends without a word, is a peer that is not there. */
  explicit Peer(const char* command) {
    int in[2];
    int out[2];
    if (command == nullptr || ::pipe(in) != 0 || ::pipe(out) != 0) return;
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      for (const int file : {in[0], in[1], out[0], out[1]}) ::close(file);
      ::execl("/bin/sh", "sh", "-c", ("exec " + std::string(command)).c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    questions_ = ::fdopen(in[1], "w");
    answers_ = ::fdopen(out[0], "r");
    name_ = readLine();
  }

  ~Peer() {
    if (questions_ == nullptr) return;
    std::fclose(questions_);  // which ends it
    std::fclose(answers_);
    ::waitpid(process_, nullptr, 0);
  }
  Peer(const Peer&) = delete;

  bool isThere() const { return !name_.empty(); }
  const std::string& name() const { return name_; }

  /** Waits for the answer, a number. */
  double ask(const std::string& question) {
    std::fprintf(questions_, "%s\n", question.c_str());
    std::fflush(questions_);
    const std::string answer = readLine();
    if (!answer.empty()) return std::strtod(answer.c_str(), nullptr);
    std::fprintf(stderr, "%s has ended\n", name_.c_str());
    std::exit(EXIT_FAILURE);
  }

 private:
  std::string readLine() {
    char line[256];
    if (std::fgets(line, sizeof line, answers_) == nullptr) return "";
    std::string text = line;
    if (text.ends_with('\n')) text.pop_back();
    return text;
  }

  pid_t process_ = -1;
  std::FILE* questions_ = nullptr;
  std::FILE* answers_ = nullptr;
  std::string name_;
};

inline bool hasFlag(int count, char** arguments, const std::string& flag) {
  for (int index = 1; index < count; index++) {
    if (flag == arguments[index]) return true;
  }
  return false;
}

/** The word that follows an option of the command line, or null. */
inline const char* optionOf(int count, char** arguments, const std::string& option) {
  for (int index = 1; index + 1 < count; index++) {
    if (option == arguments[index]) return arguments[index + 1];
  }
  return nullptr;
}

}  // namespace bench
