/** How the ranks of a benchmark are started: by mpirun, or by the program itself. */
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#ifdef MUSTER_BENCH_MPI
#include <mpi.h>
#endif

namespace bench {

/** Which of how many ranks this process is, and a name that no other run of the program has. */
struct Ranks {
  std::uint32_t rank;
  std::uint32_t size;
  std::string id;
};

/** Runs rank 0 in this process and every other one in a process of its own. @returns what the program ends with */
inline int runRanks(std::uint32_t size, const std::function<void(const Ranks& ranks)>& run) {
  const std::string id = "bench-" + std::to_string(::getpid());
  std::vector<pid_t> children;
  for (std::uint32_t rank = 1; rank < size; rank++) {
    const pid_t child = ::fork();
    if (child == 0) {
      run({rank, size, id});
      ::_exit(EXIT_SUCCESS);
    }
    children.push_back(child);
  }
  run({0, size, id});
  int failed = 0;
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    failed += status != 0;
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/** Runs this process's rank, if mpirun started it, with MPI ready for use. @returns whether it did */
inline bool runUnderMpi([[maybe_unused]] int* count, [[maybe_unused]] char*** arguments, [[maybe_unused]] const std::function<void(const Ranks& ranks)>& run) {
#ifdef MUSTER_BENCH_MPI
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return false;
  MPI_Init(count, arguments);
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  int processId = static_cast<int>(::getpid());
  MPI_Bcast(&processId, 1, MPI_INT, 0, MPI_COMM_WORLD);
  run({static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(size), "bench-" + std::to_string(processId)});
  MPI_Finalize();
  return true;
#else
  return false;
#endif
}

/** How many ranks the command line asks for, or two. */
inline std::uint32_t askedRanks(const char* option) { return option == nullptr ? 2 : static_cast<std::uint32_t>(std::atoi(option)); }

}  // namespace bench
