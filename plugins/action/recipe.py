# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a recipe that people share into lines for an inventory, or write one of what runs; on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._io import env_file
from ansible_collections.gb10.vllm.plugins.modules.recipe import OPTIONS
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe import export, image_said, images, report, source
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.document import read
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.expand import left_over
from ansible_collections.gb10.vllm.plugins.plugin_utils._recipe.mapping import imported
from ansible_collections.gb10.vllm.plugins.plugin_utils._report.tell import tell


class ActionModule(ActionBase):
    """Controller side of gb10.vllm.recipe."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict[str, Any]:
        """See the module."""
        result = super().run(tmp, task_vars)
        _parsed, given = self.validate_argument_spec(OPTIONS)
        try:
            if given["deployment"]:
                return {**result, **self._export(given)}
            if not given["recipe"]:
                raise GB10Error("recipe: name a FILE, a DIRECTORY or GIT_URL#PATH with -e recipe=..., or a server with -e export=NAME.")
            return {**result, **self._read(given)}
        except GB10Error as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}

    def _read(self, given: dict[str, Any]) -> dict[str, Any]:
        found = source.find(str(given["recipe"]), str(given["base"] or ""))
        if len(found.recipes) > 1:
            return self._many(found)
        (one,) = found.recipes
        document = read(one.text, one.name)
        folder = Path(str(given["dest"] or ".")).absolute().parent if given["dest"] else Path(str(given["base"] or ".")).absolute()
        # What lies in a repository is written beside the lines that name it; its place is theirs from the beginning.
        places = {mod: place or str(folder / "mods" / mod.rpartition("/")[2]) for mod, place in one.beside.items()}
        made = imported(document, images.Beside(one.mods, places, one.files, str(given["ref"] or "")))
        name = str(given["name"] or report.server_name(one.name))
        text = report.text(made, document, found.commit)
        tell(self._display, text)
        data = report.as_data(made, name, document, given["without"])
        answer = {"changed": False, "recipes": [data], "commit": found.commit, "text": text, "files": []}
        left = left_over(made, {"recipe_without": given["without"]})
        if left:
            hint = " Name it in -e without=... to go on without it." if made.server else ""
            raise GB10Error(f"Recipe {one.name}, {report.reason(left[0])}.{hint}")
        needed = max(made.boxes[0], int(made.server.get("boxes") or 1))
        if given["boxes"] and needed > given["boxes"]:
            field = next((one for one in ("min_nodes", "cluster_only", "defaults.tensor_parallel") if one in document.lines), "command")
            raise document.error(field, f"it needs {needed} boxes, and there are {given['boxes']}")
        lines = report.inventory(made, name, document, found.commit, given["without"])
        tell(self._display, "\n" + lines)
        own = {places[mod]: files for mod, files in one.files.items() if not one.beside[mod] and places[mod] in (made.image.get("mods") or [])}
        if own and not given["dest"]:
            tell(self._display, f"Its mods lie in the repository: -e dest=FILE writes them beside FILE ({', '.join(sorted(own))} does not exist before).")
        return {**answer, **self._with_mods(own if given["dest"] else {}, self._write(given["dest"], lines))}

    def _with_mods(self, own: dict[str, dict[str, tuple[bytes, bool]]], written: dict[str, Any]) -> dict[str, Any]:
        """Write the mods of a recipe out of its repository; what is there already and differs is somebody's work."""
        for place, files in own.items():
            for path, (text, executable) in files.items():
                target = Path(place) / path
                try:
                    if target.exists() and target.read_bytes() != text:
                        raise GB10Error(f"recipe: {target} is there and differs from the mod of the recipe; move it away, or name another dest.")
                    if not target.exists():
                        written = {**written, "changed": True}
                        if not self._task.check_mode:
                            target.parent.mkdir(parents=True, exist_ok=True)
                            target.write_bytes(text)
                            target.chmod(0o755 if executable else 0o644)
                except OSError as error:
                    raise GB10Error(f"recipe: {target} cannot be written ({error.strerror}); name another file with -e dest=FILE.") from None
                written = {**written, "files": [*written["files"], str(target)]}
        return written

    def _many(self, found: source.Found) -> dict[str, Any]:
        recipes = []
        for one in found.recipes:
            try:
                document = read(one.text, one.name)
                recipes.append(report.as_data(imported(document, images.Beside(one.mods, one.beside, one.files)), report.server_name(one.name), document))
            except GB10Error as error:
                why = str(error).removeprefix(f"Recipe {one.name}").lstrip(":, ")
                recipes.append({"recipe": one.name, "format": "", "verdict": "refused", "server": {}, "image": {}, "fields": [], "reasons": [why]})
        text = report.summary(recipes)
        tell(self._display, text)
        return {"changed": False, "recipes": recipes, "commit": found.commit, "text": text, "files": []}

    def _export(self, given: dict[str, Any]) -> dict[str, Any]:
        plain = export.plain
        env = {**env_file.parse(str(given["environment"] or "")), **plain(given["env"])}
        image = image_said.settings_of(plain(given["image"]))
        text, left = export.exported(plain(given["deployment"]), given["format"], env, image or None, plain(given["models"]))
        tell(self._display, "\n".join([text, *(f"Left out: {one}." for one in left)]))
        return {"text": text, "left_out": left, "changed": False, **self._write(given["dest"], text)}

    def _write(self, dest: str | None, text: str) -> dict[str, Any]:
        """Write what was asked for, where it differs from what is there."""
        if not dest:
            return {"files": []}
        path = Path(dest)
        try:
            same = path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text
            if not same and not self._task.check_mode:
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise GB10Error(f"recipe: {path.absolute()} cannot be written ({error.strerror}); name another file with -e dest=FILE.") from None
        return {"changed": not same, "files": [str(path)]}
