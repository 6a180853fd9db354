# SPDX-License-Identifier: GPL-2.0
"""Turns the patches of a series into commits of a git tree, and commits into patches.

The branch knows what it is: git config has the series, the commit that it is based on, and the cover
letter as the description of the branch, where git format-patch and b4 look for it.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import source
from .progress import Fail, shown, step

COVER = "0000-cover-letter.patch"
_AUTHOR, _MAIL = "rust_fsdax developers", "rust_fsdax@example.org"
# Of the commit that a source is put into: the same source is the same commit on every machine.
_BASE_DATE = "2026-01-01T00:00:00+0000"
# More digits, which a large repository needs, would make another patch of the same change.
_DIGITS = 9
# The signature is that of git, the statistics are made anew, and so is the list of patches.
_COVER_END = re.compile(rf"^(?:{re.escape(_AUTHOR)} \(\d+\):|base-commit: )", re.MULTILINE)
_BASE = re.compile(r"^base-commit: ([0-9a-f]{40})$", re.MULTILINE)


class Git:
    """A git tree, with a configuration that is the same for everybody."""

    def __init__(self, tree: Path) -> None:
        if not shutil.which("git"):
            raise Fail("git is missing: install the package git.")
        self.tree = tree
        self._env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
                     "GIT_COMMITTER_NAME": _AUTHOR, "GIT_COMMITTER_EMAIL": _MAIL,
                     "GIT_AUTHOR_NAME": _AUTHOR, "GIT_AUTHOR_EMAIL": _MAIL}

    def __call__(self, *arguments: str, ok: bool = True, date: str | None = None) -> str:
        """Run a command; return what it prints. With OK, Fail if it fails."""
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
        done = subprocess.run(["git", "-C", str(self.tree), *arguments], capture_output=True, text=True,
                              check=False, env={**self._env, **dates}, stdin=subprocess.DEVNULL)
        if ok and done.returncode:
            said = [line for line in (done.stderr + done.stdout).splitlines() if line and not line.startswith("hint:")]
            sentence = (said or [f"status {done.returncode}"])[-1].rstrip(".")
            raise Fail(f"git {arguments[0]} in {self.tree} failed: {sentence}.")
        return done.stdout.strip() if done.returncode == 0 else ""


def branch_name(series: str) -> str:
    return f"rust_fsdax/{series}"


def make_base(origin: Path, tree: Path, release: str) -> str:
    """Put a copy of the kernel source ORIGIN into a new git repository in TREE; return its only commit."""
    if tree.exists() and any(tree.iterdir()):
        raise Fail(f"{tree} is there and not empty: name a new directory, or say --onto for a git tree.")
    step(f"copy the source of Linux {release}")
    # No hard links: who edits a file must not change the cache.
    shutil.copytree(origin, tree, symlinks=True, dirs_exist_ok=True)
    git = Git(tree)
    git("init", "--quiet", "--initial-branch=base")
    git("config", "core.autocrlf", "false")
    step("make a git tree of it (a minute or two)")
    # What .gitignore names is in a published source for a reason.
    git("add", "--all", "--force")
    git("commit", "--quiet", "--no-verify", f"--message=Linux {release}\n\nAs published.", date=_BASE_DATE)
    return git("rev-parse", "HEAD")


def release_at(tree: Path, ref: str) -> str:
    """The release of the kernel that a git TREE has at REF."""
    release = source.release_of(Git(tree)("show", f"{ref}:Makefile"))
    if not release:
        raise Fail(f"{ref} of {tree} is no kernel.")
    return release


def unpack(tree: Path, patches: Path, series: str, base: str) -> str:
    """Make a commit of each patch, on a new branch at BASE of a git TREE; return its name."""
    git, branch = Git(tree), branch_name(series)
    commit = git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", ok=False)
    if not commit:
        raise Fail(f"{tree} has no {base}.")
    if git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", ok=False):
        raise Fail(f"{tree} has a branch {branch}: rename or delete it.")
    _refuse_changes(git)
    files = sorted(path for path in patches.glob("*.patch") if path.name != COVER)
    if not files:
        raise Fail(f"{shown(patches)} has no patches.")
    cover = (patches / COVER).read_text()
    text = description(cover)
    git("checkout", "--quiet", "-b", branch, commit)
    step(f"apply {len(files)} patches of {shown(patches)} to {base}")
    try:
        git("am", "--quiet", "--committer-date-is-author-date", *map(str, files))
    except Fail as fail:
        raise Fail(f"{fail} The tree is as git am left it: mend it and go on with 'git am --continue', "
                   "or undo it with 'git am --abort'.") from None
    finally:
        git("config", f"branch.{branch}.fsdaxSeries", series)
        git("config", f"branch.{branch}.fsdaxBase", commit)
        git("config", f"branch.{branch}.description", text)
        # For b4 prep: the cover letter is the description.
        git("config", "b4.prep-cover-strategy", "branch-description")
    recorded = _BASE.search(cover)
    if recorded and recorded[1] != commit:
        step(f"the series was written on another base ({recorded[1][:12]}), and applies to this one too")
    return branch


def description(cover: str) -> str:
    """The subject and the text of a cover letter."""
    header, _, body = cover.partition("\n\n")
    subject = re.search(r"^Subject: \[PATCH 0+/\d+\] ((?:.+\n?)(?:^[ \t]+.+\n?)*)", header, re.MULTILINE)
    if not subject:
        raise Fail(f"{COVER} has no subject with [PATCH 00/N].")
    end = _COVER_END.search(body)
    return f"{' '.join(subject[1].split())}\n\n{body[:end.start() if end else None].strip()}\n"


def write(tree: Path, patches: Path, base: str | None = None) -> int:
    """Write the branch that is checked out in TREE to the directory that its series has in PATCHES.

    Return the number of patches. BASE is another commit that it was rebased onto.
    """
    git = Git(tree)
    branch = git("symbolic-ref", "--short", "--quiet", "HEAD", ok=False)
    series = git("config", f"branch.{branch}.fsdaxSeries", ok=False)
    if not series:
        raise Fail(f"What is checked out in {tree} is no branch that scripts/series made.")
    if base:
        git("config", f"branch.{branch}.fsdaxBase", git("rev-parse", "--verify", f"{base}^{{commit}}"))
    base = git("config", f"branch.{branch}.fsdaxBase")
    _refuse_changes(git)
    if git("merge-base", base, "HEAD", ok=False) != base:
        raise Fail(f"{branch} was moved to another base: name it with --base.")
    if merges := git("rev-list", "--merges", "--abbrev-commit", f"{base}..HEAD"):
        raise Fail(f"{merges.split()[0]} is a merge, which no patch can be made of: rebase the branch.")
    out = patches / f"linux-{series}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=patches, prefix=".series-") as temporary:
        files = _format(git, Path(temporary), base)
        _keep_date(Path(temporary) / COVER, out / COVER)
        for old in out.glob("*.patch"):
            old.unlink()
        for path in files:
            path.rename(out / path.name)
    return len(files) - 1


def _format(git: Git, out: Path, base: str) -> list[Path]:
    """The commits since BASE as patches, with a cover letter that names BASE."""
    git("format-patch", "--quiet", "--zero-commit", "--no-signature", "--numbered", f"--abbrev={_DIGITS}",
        "--cover-letter", "--cover-from-description=subject", f"--base={base}", "--output-directory", str(out),
        f"{base}..HEAD")
    files = sorted(out.glob("*.patch"))
    if len(files) < 2:
        raise Fail("There is no commit beyond the base.")
    for path in files:
        text = re.sub(r"^index ([0-9a-f]+)\.\.([0-9a-f]+)",
                      lambda found: f"index {found[1][:_DIGITS]}..{found[2][:_DIGITS]}",
                      path.read_text(errors="surrogateescape"), flags=re.MULTILINE)
        text = re.sub(r"\n+(base-commit: .*)\n+\Z", r"\n\n\1\n", text)
        path.write_text(re.sub(r"\n+\Z", "\n", text), errors="surrogateescape")
    return files


def _keep_date(cover: Path, old: Path) -> None:
    """A cover letter that says the same is the same: its date is that of the one before."""
    date = re.compile(r"^Date: .*$", re.MULTILINE)
    if old.exists() and (found := date.search(old.read_text())):
        cover.write_text(date.sub(lambda _: found[0], cover.read_text(), count=1))


def _refuse_changes(git: Git) -> None:
    if changed := git("status", "--porcelain", "--untracked-files=no"):
        raise Fail(f"{git.tree} has changes that are not committed ({changed.split()[-1]} and maybe more).")
