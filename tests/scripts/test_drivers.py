# SPDX-License-Identifier: GPL-2.0
"""The patches of drivers ask for folios by offset, apply to each series, and make no other kernel."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import compiling, drivers, fixes, kernel, source

GOOD = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH 2/3] gpu: request pages by their offset

Why.
---
 drivers/gpu/a.c | 2 +-

diff --git a/drivers/gpu/a.c b/drivers/gpu/a.c
index 1234..5678 100644
--- a/drivers/gpu/a.c
+++ b/drivers/gpu/a.c
@@ -1,1 +1,1 @@
-	zone_device_page_init(page, pgmap, 0);
+	folio = pgmap_request_folio(pgmap, offset, 0);
"""


class Text(unittest.TestCase):
    def test_a_good_patch_has_no_problem(self) -> None:
        self.assertEqual(drivers.problems(GOOD, 2, 3), [])

    def test_a_patch_for_mm_need_not_convert_a_call(self) -> None:
        text = GOOD.replace("gpu: request", "mm/memremap: serve").replace("-\tzone_device_page_init", "-\told")
        self.assertEqual(drivers.problems(text, 2, 3), [])

    def test_what_is_wrong_is_found(self) -> None:
        for old, new, words in (
                ("PATCH 2/3", "PATCH 1/3", "number 2 of 3"),
                ("Why.", "Signed-off-by: A <a@example.org>", "Signed-off-by"),
                ("-\tzone_device_page_init", "-\told", "no call"),
                ("+\tfolio = pgmap_request_folio", "+\tnew", "no call"),
                ("offset, 0);\n", "offset, 0);\n+\tset_page_count(page, 1);\n", "by hand"),
                ("offset, 0);\n", "offset, 0);\n+\tzone_device_folio_init(folio, pgmap, 0);\n", "by hand")):
            with self.subTest(new):
                found = drivers.problems(GOOD.replace(old, new), 2, 3)
                self.assertEqual(len(found), 1, found)
                self.assertIn(words, found[0])

    def test_amdkfd_is_compiled_by_the_makefile_of_amdgpu(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "0001-x.patch"
            path.write_text(GOOD + "+++ b/drivers/gpu/drm/amd/amdkfd/b.c\n+++ b/include/linux/c.h\n")
            self.assertEqual(drivers.objects([path]),
                             ["drivers/gpu/a.o", "drivers/gpu/drm/amd/amdgpu/../amdkfd/b.o"])


class Patches(unittest.TestCase):
    def test_there_are_some_for_each_series(self) -> None:
        for series in source.supported():
            self.assertTrue(drivers.patches(series), series)

    def test_they_convert_a_call_each(self) -> None:
        for series in source.supported():
            found = drivers.patches(series)
            for number, path in enumerate(found, 1):
                with self.subTest(path.name):
                    self.assertEqual(drivers.problems(path.read_text(), number, len(found)), [])

    def test_the_cover_letter_names_them_all(self) -> None:
        for series in source.supported():
            found = drivers.patches(series)
            cover = next(found[0].parent.glob("0000-*")).read_text()
            named = cover[cover.index("rust_fsdax developers ("):].split("\n\n")[0].splitlines()[1:]
            self.assertEqual([line.strip() for line in named], [fixes.subject(path.read_text()) for path in found])

    def test_no_kernel_is_built_with_them(self) -> None:
        for series in source.supported():
            built = {fixes.subject(path.read_text()) for path in kernel.patches(series)}
            self.assertFalse({fixes.subject(path.read_text()) for path in drivers.patches(series)} & built)

    def test_the_configuration_has_what_they_touch(self) -> None:
        wanted = kernel.config("drivers")
        for option in ("DRM_XE_PAGEMAP", "DRM_NOUVEAU_SVM", "HSA_AMD_SVM", "PCI_P2PDMA"):
            self.assertIn(f"\nCONFIG_{option}=y\n", wanted)

    def test_what_they_touch_is_there_in_each_series(self) -> None:
        # Else make finds nothing to do. The suite "series" applies them.
        for series in source.supported():
            with self.subTest(series):
                origin = source.cached(series)
                tree = kernel.cached_patched(origin) if origin else None
                if not tree:
                    self.skipTest(f"the source of Linux {series} with its series is not in the cache")
                for name in compiling.touched(drivers.patches(series)):
                    self.assertTrue((tree / name).with_suffix(".c").exists(), name)


if __name__ == "__main__":
    unittest.main()
