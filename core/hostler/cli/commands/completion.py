"""`hostler completion bash|zsh|fish`: the script that a shell loads; complete.py decides what
the Tab key offers."""

from __future__ import annotations

import argparse
import sys

from hostler.cli.shared import add_common

BASH = """\
# hostler completion for bash: eval "$(hostler completion bash)"
_hostler() {
    local IFS=$'\\n'
    COMPREPLY=($(hostler __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _hostler hostler
"""

ZSH = """\
#compdef hostler
# hostler completion for zsh: eval "$(hostler completion zsh)"
_hostler() {
    local -a found
    found=("${(@f)$(hostler __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- $found; else _files; fi
}
compdef _hostler hostler
"""

FISH = """\
# hostler completion for fish: hostler completion fish | source
function __hostler_complete
    set -l words (commandline -opc) (commandline -ct)
    hostler __complete $words[2..-1] 2>/dev/null
end
complete -c hostler -a '(__hostler_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="which shell")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    sys.stdout.write(SCRIPTS[args.shell])
    return 0
