"""Projects that run a program when plain git touches them: one builder per way that git's configuration has.

Each builder sets a trap in a project and gives the command of plain git that falls into it, so that a test can show
that the trap was live. A trap writes the canary file.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.store.git_projects import commit_all, git, write_files

HOOKS = (
    "applypatch-msg commit-msg fsmonitor-watchman post-applypatch post-checkout post-commit post-index-change "
    "post-merge post-receive post-rewrite post-update pre-applypatch pre-auto-gc "
    "pre-commit pre-merge-commit pre-push pre-rebase pre-receive prepare-commit-msg proc-receive "
    "push-to-checkout reference-transaction sendemail-validate update"
).split()

ALIASES = (
    "ls-files hash-object update-index read-tree write-tree commit-tree pack-objects update-ref for-each-ref rev-parse "
    "rev-list cat-file config fsck ls-tree diff-tree version trapped"
).split()

PROGRAM_KEYS = (
    "core.askPass core.editor core.fsmonitor core.gitProxy core.pager core.sshCommand core.alternateRefsCommand "
    "sequence.editor diff.external diff.tool difftool.t.cmd merge.tool mergetool.t.cmd interactive.diffFilter "
    "credential.helper gpg.program gpg.ssh.program gpg.x509.program uploadpack.packObjectsHook browser.b.cmd man.m.cmd "
    "trailer.t.command trailer.t.cmd tar.tgz.command pager.log pager.diff web.browser instaweb.httpd "
    "sendemail.smtpServer filter.f.clean filter.f.smudge filter.f.process diff.d.command diff.d.textconv merge.m.driver"
).split()
"""Every key of git's configuration that names a program."""


@dataclass(frozen=True)
class Trap:
    """A project that was made dangerous.

    Attributes:
        fall: how plain git falls into it: words, and where and with what it is called; None where it runs no program.
        start: where the store is opened, when it is not the project.
    """

    fall: tuple[str, ...] | None = None
    where: Path | None = None
    stdin: bytes = b""
    start: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Builder:
    """Sets traps in a project with one commit.

    Args:
        outside: a folder beside the project, for what the attacker has elsewhere.
    """

    def __init__(self, project: Path, outside: Path) -> None:
        self.project = project
        self.outside = outside
        self.canary = outside / "canary"
        program = outside / "trap"
        program.write_text(f'#!/bin/sh\necho "$0 $@" >> {shlex.quote(str(self.canary))}\nexit 1\n')
        program.chmod(0o755)
        self.program = str(program)

    def config(self, **values: str) -> None:
        """Sets keys of the project's configuration; `__` stands for a dot."""
        for key, value in values.items():
            git(self.project, "config", key.replace("__", "."), value)

    def edit(self) -> None:
        """An edit of the same size in the same second, which makes git compare content."""
        write_files(self.project, {"train.py": (self.project / "train.py").read_text()[::-1], "new.py": "new = 1\n"})


def file_system_monitor(b: Builder) -> Trap:
    b.config(core__fsmonitor=b.program)
    return Trap(("status",))


def every_hook(b: Builder) -> Trap:
    for name in HOOKS:
        hook = b.project / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f'#!/bin/sh\nexec {shlex.quote(b.program)} {name} "$@"\n')
        hook.chmod(0o755)
    return Trap(("commit", "--allow-empty", "-m", "x"))


def hook_path(b: Builder) -> Trap:
    for name in HOOKS:
        write_files(b.project, {f"hooks/{name}": f"#!/bin/sh\nexec {shlex.quote(b.program)} {name}\n"})
        (b.project / "hooks" / name).chmod(0o755)
    b.config(core__hooksPath="hooks")
    return Trap(("commit", "--allow-empty", "-m", "x"))


def clean_filter(b: Builder) -> Trap:
    write_files(b.project, {".gitattributes": "* filter=f\n"})
    b.config(filter__f__clean=b.program)
    b.edit()
    return Trap(("add", "new.py"))


def process_filter(b: Builder) -> Trap:
    write_files(b.project, {".gitattributes": "* filter=f\n"})
    b.config(filter__f__process=b.program, filter__f__required="true")
    b.edit()
    return Trap(("add", "new.py"))


def smudge_filter_by_info_attributes(b: Builder) -> Trap:
    (b.project / ".git" / "info").mkdir(exist_ok=True)
    (b.project / ".git" / "info" / "attributes").write_text("* filter=f\n")
    b.config(filter__f__smudge=b.program, filter__f__clean="cat")
    (b.project / "train.py").unlink()
    return Trap(("checkout", "--", "train.py"))


def filter_of_a_worktree_config(b: Builder) -> Trap:
    write_files(b.project, {".gitattributes": "* filter=f\n"})
    b.config(extensions__worktreeConfig="true")
    git(b.project, "config", "--worktree", "filter.f.clean", b.program)
    b.edit()
    return Trap(("add", "new.py"))


def text_conversion(b: Builder) -> Trap:
    write_files(b.project, {".gitattributes": "* diff=d\n"})
    b.config(diff__d__textconv=b.program)
    b.edit()
    return Trap(("diff",))


def diff_driver(b: Builder) -> Trap:
    write_files(b.project, {".gitattributes": "* diff=d\n"})
    b.config(diff__d__command=b.program)
    b.edit()
    return Trap(("diff",))


def external_diff(b: Builder) -> Trap:
    b.config(diff__external=b.program)
    b.edit()
    return Trap(("diff",))


def merge_driver(b: Builder) -> Trap:
    for branch in ("side", "main"):
        git(b.project, "checkout", "-q", "-B", branch, "main")
        write_files(b.project, {"train.py": f"{branch}\n", ".gitattributes": "* merge=m\n"})
        commit_all(b.project)
    b.config(merge__m__driver=b.program)
    return Trap(("merge", "side"))


def pager(b: Builder) -> Trap:
    b.config(core__pager=b.program, pager__log=b.program)
    return Trap(("grep", "-O", "step"))


def editor(b: Builder) -> Trap:
    b.config(core__editor=b.program, sequence__editor=b.program)
    return Trap(("commit", "--allow-empty"))


def ssh_command(b: Builder) -> Trap:
    b.config(core__sshCommand=b.program, remote__origin__url="ssh://host.invalid/x")
    return Trap(("ls-remote", "origin"))


def remote_helper(b: Builder) -> Trap:
    b.config(remote__origin__url=f"ext::{b.program}", protocol__ext__allow="always")
    return Trap(("ls-remote", "origin"))


def upload_program(b: Builder) -> Trap:
    b.config(remote__origin__url=str(b.project), remote__origin__uploadpack=b.program)
    return Trap(("ls-remote", "origin"))


def receive_program(b: Builder) -> Trap:
    b.config(remote__origin__url=str(b.project), remote__origin__receivepack=b.program)
    return Trap(("push", "origin", "main:other"))


def url_rewrite(b: Builder) -> Trap:
    b.config(protocol__ext__allow="always", remote__origin__url="https://host.invalid/x")
    git(b.project, "config", f"url.ext::{b.program} .insteadOf", "https://host.invalid/")
    return Trap(("ls-remote", "origin"))


def credential_helper(b: Builder) -> Trap:
    b.config(credential__helper=f"!{b.program}")
    return Trap(("credential", "fill"), stdin=b"protocol=https\nhost=host.invalid\n\n")


def signing_program(b: Builder) -> Trap:
    b.config(commit__gpgSign="true", tag__gpgSign="true", gpg__program=b.program)
    return Trap(("commit", "--allow-empty", "-m", "x"))


def aliases(b: Builder) -> Trap:
    for name in ALIASES:
        git(b.project, "config", f"alias.{name}", f"!{b.program}")
    return Trap(("trapped",))


def alternates(b: Builder) -> Trap:
    other = b.outside / "other"
    git(b.outside, "clone", "-q", str(b.project), str(other))
    git(other, "config", "core.fsmonitor", b.program)
    (b.project / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (b.project / ".git" / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
    git(b.project, "config", "core.alternateRefsCommand", b.program)
    b.edit()
    return Trap(("fetch", "-q", str(other)))


def config_include(b: Builder) -> Trap:
    (b.outside / "evil.config").write_text(f"[core]\n\tfsmonitor = {b.program}\n\thooksPath = {b.outside}\n")
    b.config(include__path=str(b.outside / "evil.config"))
    return Trap(("status",))


def conditional_include(b: Builder) -> Trap:
    (b.outside / "evil.config").write_text(f"[core]\n\tfsmonitor = {b.program}\n")
    git(b.project, "config", "includeIf.gitdir:/**.path", str(b.outside / "evil.config"))
    return Trap(("status",))


def redirected_git_dir(b: Builder) -> Trap:
    (b.project / ".git").rename(b.project / "innocent")
    (b.project / ".git").write_text("gitdir: innocent\n")
    b.config(core__fsmonitor=b.program)
    return Trap(("status",))


def embedded_bare_repository(b: Builder) -> Trap:
    bare = b.project / "data"
    git(b.project, "clone", "-q", "--bare", str(b.project), str(bare))
    git(bare, "config", "core.bare", "false")
    git(bare, "config", "core.worktree", str(b.project / "data"))
    git(bare, "config", "core.fsmonitor", b.program)
    return Trap(("status",), where=bare, start=bare)


def submodule(b: Builder) -> Trap:
    library = b.outside / "library"
    git(b.outside, "clone", "-q", str(b.project), str(library))
    git(b.project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    commit_all(b.project)
    git(b.project / "lib", "config", "core.fsmonitor", b.program)
    return Trap(("status",))


def nested_repository(b: Builder) -> Trap:
    inner = b.project / "vendor"
    git(b.project, "clone", "-q", str(b.project), str(inner))
    git(inner, "config", "core.fsmonitor", b.program)
    return Trap(("status",), where=inner)


def promisor_remote(b: Builder) -> Trap:
    blob = git(b.project, "rev-parse", "HEAD:README.md").decode().strip()
    b.config(
        core__repositoryFormatVersion="1",
        extensions__partialClone="origin",
        remote__origin__promisor="true",
        remote__origin__url=f"ext::{b.program}",
        protocol__ext__allow="always",
    )
    (b.project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    return Trap(("cat-file", "-p", blob))


def planted_work_tree(b: Builder) -> Trap:
    write_files(b.outside, {"private/secret.txt": "of somebody else\n"})
    b.config(core__worktree=str(b.outside / "private"))
    return Trap()


def archive_command(b: Builder) -> Trap:
    b.config(tar__tgz__command=b.program)
    return Trap(("archive", "--format=tgz", "HEAD"))


def replace_refs(b: Builder) -> Trap:
    blob = git(b.project, "rev-parse", "HEAD:train.py").decode().strip()
    other = git(b.project, "hash-object", "-w", "--stdin", stdin=b"replaced\n").decode().strip()
    git(b.project, "replace", blob, other)
    return Trap()


def foreign_owner(b: Builder) -> Trap:
    b.config(core__fsmonitor=b.program)
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "65534", b.project / "train.py", b.project / ".git" / "config"], check=True)
    return Trap()


def untracked_cache_and_other_index_parts(b: Builder) -> Trap:
    b.config(core__untrackedCache="true", core__fsmonitor=b.program, index__version="4", feature__manyFiles="true")
    git(b.project, "-c", "core.fsmonitor=", "update-index", "--untracked-cache", "--split-index")
    git(b.project, "-c", f"core.fsmonitor={b.program}", "update-index", "--fsmonitor")
    b.canary.unlink(missing_ok=True)
    b.edit()
    return Trap(("status",))


def every_key_that_names_a_program(b: Builder) -> Trap:
    for key in PROGRAM_KEYS:
        git(b.project, "config", key, b.program)
    write_files(b.project, {".gitattributes": "* filter=f diff=d merge=m\n"})
    b.edit()
    return Trap(("status",))


def global_config(b: Builder) -> Trap:
    home = Path(os.environ["HOME"])
    with (home / ".gitconfig").open("a") as file:
        file.write(
            f'[core]\n\tfsmonitor = {b.program}\n\thooksPath = {b.outside}\n[filter "f"]\n\tclean = {b.program}\n'
        )
    write_files(b.project, {".gitattributes": "* filter=f\n"})
    b.edit()
    return Trap(("status",))


BUILDERS: tuple[Callable[[Builder], Trap], ...] = (
    file_system_monitor,
    every_hook,
    hook_path,
    clean_filter,
    process_filter,
    smudge_filter_by_info_attributes,
    filter_of_a_worktree_config,
    text_conversion,
    diff_driver,
    external_diff,
    merge_driver,
    pager,
    editor,
    ssh_command,
    remote_helper,
    upload_program,
    receive_program,
    url_rewrite,
    credential_helper,
    signing_program,
    aliases,
    alternates,
    config_include,
    conditional_include,
    redirected_git_dir,
    embedded_bare_repository,
    submodule,
    nested_repository,
    promisor_remote,
    planted_work_tree,
    archive_command,
    replace_refs,
    foreign_owner,
    untracked_cache_and_other_index_parts,
    every_key_that_names_a_program,
    global_config,
)
