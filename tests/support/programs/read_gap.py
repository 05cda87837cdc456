"""A library that holds a shell up between its look for signals and its read of the next line."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Shells read a pipe by single bytes. Before the first byte of the line that HOSTLER_GAP_LINE
   counts (from 1), make the file HOSTLER_GAP_FILE, and sleep until a signal comes, or 2 s. */
ssize_t read(int file, void *buffer, size_t size) {
  static ssize_t (*real)(int, void *, size_t);
  static int line = 1, first = 1;
  if (!real) real = dlsym(RTLD_NEXT, "read");
  const char *wanted = getenv("HOSTLER_GAP_LINE"), *name = getenv("HOSTLER_GAP_FILE");
  if (size == 1 && first && wanted && name && line == atoi(wanted)) {
    struct timespec most = {2, 0};
    first = 0;
    close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    nanosleep(&most, NULL);
  }
  ssize_t got = real(file, buffer, size);
  if (size == 1 && got == 1) {
    first = *(char *)buffer == '\n';
    line += first;
  }
  return got;
}
"""


class ReadGap:
    """The library in a folder, and whether a process is in the gap."""

    def __init__(self, folder: Path) -> None:
        source, library = folder / "gap.c", folder / "gap.so"
        source.write_text(_SOURCE)
        words = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(words, check=True)
        self._reached = folder / "gap-reached"
        self._library = library

    def env(self, line: int) -> dict[str, str]:
        """For a program that is to sleep before it reads the line of this number."""
        return {
            "LD_PRELOAD": str(self._library),
            "HOSTLER_GAP_LINE": str(line),
            "HOSTLER_GAP_FILE": str(self._reached),
        }

    def wait(self, seconds: float = 30.0) -> None:
        """Until a process has reached the gap."""
        until = time.monotonic() + seconds
        while not self._reached.exists():
            assert time.monotonic() < until, "no process has reached the gap"
            time.sleep(0.01)
