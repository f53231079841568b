# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first and the last day of a box: what Docker lacks is installed, a server made by hand is taken over, and everything is taken away again."""

from __future__ import annotations

import pytest
import yaml
from server_box import SERVER, STATE, Box

# In place of NVIDIA's archive, which DGX OS names: a package with the one program that is used of it, in an archive of one package on the box.
TOOLKIT = """
mkdir -p /srv/archive/made/DEBIAN /srv/archive/made/usr/bin
cd /srv/archive
printf 'Package: nvidia-container-toolkit\\nVersion: 1.18.0-1\\nArchitecture: all\\nMaintainer: nobody <nobody@example.org>\\nDescription: stand-in\\n' \
  > made/DEBIAN/control
cat > made/usr/bin/nvidia-ctk <<'END'
#!/bin/sh
[ "$*" = "runtime configure --runtime=docker" ] || exit 1
exec python3 -c '
import json
place = "/etc/docker/daemon.json"
known = json.load(open(place))
known["runtimes"]["nvidia"] = {"path": "/usr/local/bin/runc-within-bounds"}
json.dump(known, open(place, "w"))
'
END
printf '#!/bin/sh\\nexit 0\\n' > made/usr/bin/nvidia-container-runtime-hook
chmod 755 made/usr/bin/*
dpkg-deb --build --root-owner-group made toolkit.deb >/dev/null
dpkg-deb --field toolkit.deb > Packages
printf 'Filename: ./toolkit.deb\\nSize: %s\\nSHA256: %s\\n' $(stat -c %s toolkit.deb) $(sha256sum toolkit.deb | cut -d' ' -f1) >> Packages
echo 'deb [trusted=yes] file:/srv/archive ./' > /etc/apt/sources.list.d/archive.list
mv /usr/local/bin/nvidia-container-runtime-hook /root/hook
"""
HOOK = """
dpkg -r nvidia-container-toolkit; mv -n /root/hook /usr/local/bin/nvidia-container-runtime-hook
rm -rf /srv/archive /etc/apt/sources.list.d/archive.list
"""
# As the log of the person for whom this was made has it, without its GPU; --ipc=host would be the 64 MB of the container that the box is.
BY_HAND = (
    "docker run -d --name by-hand --shm-size=1g -p 8005:8000 -v /srv/models/tiny-llama:/models/tiny-llama vllm-node "
    "bash -c 'vllm serve /models/tiny-llama --port 8000 --host 0.0.0.0 --gpu-memory-utilization 0.3 --max-model-len 1024 --dtype float32 --enforce-eager'"
)
OURS = "find / -xdev \\( -path /proc -o -path /sys -o -path /tmp -o -path /var/lib/docker \\) -prune -o -iname '*gb10*' -print | grep -v ^/home | sort"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("first-and-last"), {"gb10_servers": [SERVER]})
    box.run(HOOK, check=False)
    box.before = box.run(OURS)
    yield box
    box.run(HOOK, check=False)


def key(box, server="tiny"):
    return box.run(f"cut -d= -f2- /etc/gb10-vllm/{server}/key.env")


def test_what_docker_lacks_for_the_gpu_is_named_and_installed_when_that_is_wanted(box):
    box.run(TOOLKIT)
    said = " ".join(box.play("site", rc=2).split())
    assert "Install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker` and restart Docker" in said and "gb10_prepare" in said
    assert "nvidia-container-toolkit" not in box.run("dpkg-query -W -f '${Package} ${Status}\\n' 'nvidia-container*'", check=False)
    would = " ".join(box.play("site", "--check", "-e", "gb10_prepare=true", rc=2).split())
    assert "would do this: apt-get install nvidia-container-toolkit" in would
    box.play("site", "-e", "gb10_prepare=true")
    assert "install ok installed" in box.run("dpkg-query -W -f '${Status}' nvidia-container-toolkit")
    assert "nvidia" in box.run("docker info --format '{{json .Runtimes}}'")
    box.answers(8000, key(box))
    again = box.play("site", "-e", "gb10_prepare=true")
    assert "changed=0" in again


def test_a_server_made_by_hand_is_taken_over(box):
    box.run(BY_HAND)
    box.wait_until(lambda: box.ask(8005, model="/models/tiny-llama") == 200, 300)
    places = box.folder / "host_vars"
    places.mkdir()
    said = box.play("adopt", "-e", f"dest={places}")
    assert "docker stop by-hand" in said and "kv-cache-memory-bytes" in said
    entries = yaml.safe_load((places / f"{box.name}.yml").read_text())["gb10_servers"]
    assert [(one["name"], one["model"], one["port"], one["max_model_len"]) for one in entries] == [("by-hand", "/srv/models/tiny-llama", 8005, 1024)]
    assert box.ask(8005, model="/models/tiny-llama") == 200, "nothing was touched"
    box.run("docker stop by-hand")
    (places / f"{box.name}.yml").unlink()
    box.wish(gb10_servers=[SERVER, {**entries[0], "address": "0.0.0.0"}])
    box.play("site")
    assert box.ask(8005, key(box, "by-hand"), model="/models/tiny-llama") == 200 and box.ask(8005, model="/models/tiny-llama") == 401


def test_everything_is_taken_away_and_nothing_else(box):
    shown = box.play("remove")
    assert "gb10-vllm-tiny" in shown and "Nothing was changed" in " ".join(shown.split()) and box.ask(8000, key(box)) == 200
    box.play("remove", "-e", "gb10_remove=true")
    assert box.run(OURS) == box.before
    assert box.run("docker ps -a --format '{{.Names}}'") == "by-hand", "what was made by hand is its owner's"
    assert "model.safetensors" in box.run("ls /srv/models/tiny-llama") and box.run(f"ls {STATE} /etc/gb10-vllm 2>/dev/null", check=False) == ""
    assert "gb10" not in box.run("systemctl list-units --all --no-legend 'gb10*'; iptables -S")
    again = box.play("remove", "-e", "gb10_remove=true")
    assert "there is nothing of gb10.vllm here" in " ".join(again.split()) and "changed=0" in again
    box.run("docker rm -f by-hand")
    box.play("site")
    box.answers(8000, key(box))
