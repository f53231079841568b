# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drift, and servers that nobody wants."""

from __future__ import annotations

from ansible_collections.gb10.vllm.plugins.plugin_utils._decide import deployment
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.drift import drift, leftovers
from ansible_collections.gb10.vllm.plugins.plugin_utils._fleet.lock import locked_box
from fleet_boxes import OTHER_IMAGE, UNIT_DIGEST, box, deployed, server


def lock_of(one):
    return locked_box("10.0.0.1", one)


def order(fresh, one):
    decision = deployment.decide(fresh, (one["servers"].get(fresh["name"]) or {}).get("deployment"), one["docker"]["containers"])
    return {**decision, "unit_digest": UNIT_DIGEST}


def of(one, fresh=None, locked=None):
    return drift("devstral", one, order(fresh or deployed(), one), locked)


class TestDrift:
    def test_none(self):
        one = box(deployed())
        assert of(one, locked=lock_of(one)["servers"]["devstral"]) == []

    def test_not_deployed(self):
        assert of(box()) == ["not deployed yet; site creates it"]

    def test_the_image(self):
        assert "the image changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb" in of(box(deployed()), deployed(image=OTHER_IMAGE))[0]

    def test_the_flags(self):
        assert (
            "its arguments changed (65536 -> 4096)"
            in of(box(deployed()), deployed(server(max_model_len=1), arguments=["--port", "8000", "--max-model-len", "4096"]))[0]
        )

    def test_a_container_that_was_removed_by_hand(self):
        one = box(deployed())
        one["docker"]["containers"] = []
        assert of(one) == ["its container is gone; site replaces the container"]

    def test_a_unit_that_was_edited_by_hand(self):
        one = box(deployed())
        unit = "/etc/systemd/system/gb10-vllm-devstral.service"
        one["files"][unit]["sha256"] = "0" * 64
        one["files"][f"{unit}.d"] = None
        found = of(one)
        assert found[0].startswith("its unit file was edited") and "systemctl revert gb10-vllm-devstral.service" in found[1]
        del one["files"][unit]
        assert of(one)[0] == "its unit file is gone; site writes it again"

    def test_a_unit_that_was_stopped_or_disabled(self):
        one = box(deployed())
        one["units"]["gb10-vllm-devstral.service"] = {"active": "inactive", "enabled": False}
        assert of(one) == ["its unit is inactive; site starts it", "it does not start at boot; site enables it"]

    def test_a_server_that_gave_up_or_died_with_its_box(self):
        one = box(deployed())
        one["units"]["gb10-vllm-devstral.service"] = {"active": "failed", "enabled": True, "restarts": 4}
        assert of(one) == ["its unit is failed after 3 restarts; site starts it"]
        one["boot_id"], one["servers"]["devstral"]["starting"] = "this boot", {"boot_id": "the boot before"}
        assert of(one) == ["the box went down while it was starting, so it was not started again by itself; site starts it"]
        one["servers"]["devstral"]["starting"] = {"boot_id": "this boot"}
        one["units"]["gb10-vllm-devstral.service"]["active"] = "activating"
        assert of(one) == []

    def test_what_another_controller_deployed(self):
        locked = lock_of(box(deployed()))["servers"]["devstral"]
        one = box(deployed(image=OTHER_IMAGE))
        found = of(one, deployed(image=OTHER_IMAGE), locked)
        assert found == ["it is not what is locked (the image changed from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb); site locks what runs once it is proven"]

    def test_servers_nobody_wants(self):
        one = box(deployed(), deployed(server("old")))
        assert leftovers(one, ["devstral"]) == ["old"]
        one["servers"].pop("old")
        assert leftovers(one, ["devstral"]) == ["old"]
        one["docker"]["containers"].pop()
        assert leftovers(one, ["devstral"]) == ["old"]
        one["units"] = {name: state for name, state in one["units"].items() if "old" not in name}
        assert leftovers(one, ["devstral"]) == []
        assert drift("old", one, None, None) == ["no longer in the inventory; site leaves it until gb10_prune is true"]
        assert drift("old", one, None, None, prune=True) == ["no longer in the inventory; site removes it (gb10_prune)"]
