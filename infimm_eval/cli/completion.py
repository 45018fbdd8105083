"""``completion``: names and options at the press of a key, in bash, zsh and fish.

What completes a command has to answer at once: nothing heavy is imported here.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem, get_completion_class

PROGRAM = "infimm-eval"
VARIABLE = "_INFIMM_EVAL_COMPLETE"
"""Where the shell's script puts what it wants to know, as click names it."""

_SHELLS = ("bash", "zsh", "fish")


def asked() -> bool:
    """Whether a shell asks for completions, and not a person for a command."""
    return VARIABLE in os.environ


def complete_task(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """One benchmark's name."""
    from infimm_eval import registry

    return [CompletionItem(name) for name in registry.names() if name.startswith(begun.lower())]


def complete_tasks(ctx: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The last of several names with commas between them."""
    before, comma, last = begun.rpartition(",")
    head = before + comma
    taken = set(before.split(","))
    items = [item.value for item in complete_task(ctx, option, last) if item.value not in taken]
    items += ["all"] if not before and "all".startswith(last) else []
    return [CompletionItem(head + name) for name in items]


def complete_model(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """A built-in kind of model, or a folder or file."""
    from infimm_eval.models import BACKENDS

    forms = [name if known.stands_alone else f"{name}:" for name, known in BACKENDS.items()]
    found = [CompletionItem(form) for form in forms if form.startswith(begun)]
    return found or [CompletionItem(begun, type="file")]


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, benchmarks and models in a shell.

    \b
    bash   eval "$(infimm-eval completion bash)"     in ~/.bashrc
    zsh    eval "$(infimm-eval completion zsh)"      in ~/.zshrc, after compinit
    fish   infimm-eval completion fish > ~/.config/fish/completions/infimm-eval.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # one of _SHELLS, which click knows
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
