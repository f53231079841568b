# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle written where there is a network installs a box that has none and holds nothing, up to an answer."""

from __future__ import annotations

# Docker keeps an image as long as another one is built on it, so it takes as many rounds as they are deep.
EMPTY = """
while docker images -q | grep -q .; do docker images -q | sort -u | xargs docker rmi -f || true; done; docker builder prune -af
rm -rf /srv/models/* /var/lib/gb10-vllm
"""
# What the box starts itself does not leave it; it still answers those who ask.
NO_NETWORK = "iptables -A OUTPUT -d 172.30.10.0/24 -m conntrack --ctstate NEW -j REJECT; ip route del default"


def test_a_bundle_takes_a_box_without_a_network_to_an_answer(box, tmp_path):
    bundle = tmp_path / "bundle"
    written = box.playbook("gb10.vllm.bundle", "-e", f"gb10_bundle={bundle}")
    assert written.code == 0, written.text[-3000:]
    assert {"image.tar", "models", "collections", "settings.yml", "manifest.json", "SHA256SUMS"} <= {path.name for path in bundle.iterdir()}
    assert "run.lock" not in box.root("ls /var/lib/gb10-vllm")
    box.root(EMPTY)
    box.root(NO_NETWORK)
    assert "unreachable" in box.root("git ls-remote git://172.30.10.2/spark-vllm-docker.git 2>&1 || echo unreachable")
    assert "vllm-node" not in box.root("docker images; ls /srv/models")
    offline = ("-e", f"gb10_bundle={bundle}", "-e", f"@{bundle}/settings.yml")
    brought = box.playbook("gb10.vllm.unbundle gb10.vllm.site", *offline)
    assert brought.code == 0, brought.text[-3000:]
    assert box.chat()["choices"][0]["message"]["content"]
    again = box.playbook("gb10.vllm.unbundle gb10.vllm.site", *offline)
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
