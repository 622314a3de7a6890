"""Say what a wheel holds, and fail if that is anything but the package: python tests/wheel_contents.py WHEEL"""

from __future__ import annotations

import sys
import zipfile


def main(path: str) -> int:
    names = zipfile.ZipFile(path).namelist()
    strays = [name for name in names if not name.startswith(("chainrule/", "chainrule-")) or "test" in name]
    wanted = {"chainrule/__init__.py", "chainrule/py.typed", "chainrule/autograd/ops/elementwise.py"}
    pages = {"chainrule/visualize/serving/assets/live", "chainrule/visualize/stepping/assets/step"}
    wanted |= {f"{page}.{kind}" for page in pages for kind in ("html", "css", "js")}
    missing = wanted - set(names)
    print(f"{len(names)} files, strays: {strays or 'none'}, missing: {sorted(missing) or 'none'}")
    return bool(strays or missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
