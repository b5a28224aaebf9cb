/* Under valgrind /proc/self/exe is valgrind itself, which cannot be started so: leno, which reads YAML in a child of its
 * own program, starts LENO_EXE instead. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>

typedef int spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
                  char *const[]);

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
  spawn *next = (spawn *)dlsym(RTLD_NEXT, "posix_spawnp");
  const char *own = getenv("LENO_EXE");
  if (own != NULL && strcmp(file, "/proc/self/exe") == 0)
    file = own;
  return next(pid, file, actions, attributes, argv, envp);
}
