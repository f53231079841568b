#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build, pull, load or check the vLLM image of one box."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Brings the vLLM image of a box to the wanted state, exactly once
version_added: "0.1.0"
description:
  - Builds the image with C(spark-vllm-docker) at a pinned commit, pulls the project's prebuilt image, loads an archive,
    or checks that an image is there.
  - Unchanged inputs build nothing, changed inputs are named. The task is changed only when the image identity (its id) changed.
  - The build works in a git worktree of its own, so the checkout stays clean. C(UV_HTTP_TIMEOUT) and C(UV_HTTP_RETRIES) are written
    into every stage of every Dockerfile there, because C(docker build) forwards no environment of the host to RUN steps.
  - The image gets its final name only when it is complete; the image that had the name before is kept as C(NAME:previous-TIME).
  - Runs as an action that shows progress and works in the background on the box, so a long build outlives no SSH timeout.
author:
  - gb10.vllm contributors (@gb10)
extends_documentation_fragment:
  - action_common_attributes
attributes:
  check_mode:
    support: full
    description: Says whether something would be built, pulled or loaded and why; changes nothing.
  diff_mode:
    support: full
    description: Shows the inputs before and after.
  platform:
    support: full
    platforms: linux
options:
  source:
    description: Where the image comes from.
    type: str
    default: build
    choices:
      build: Run C(build-and-copy.sh) of the checkout at O(ref).
      prebuilt: Pull O(image), pinned by O(digest).
      archive: Load O(archive), a file written by C(docker save).
      existing: Use the image that is there; fail when it is not.
  name:
    description: Name (and tag) the image gets on the box.
    type: str
    default: vllm-node
  state_dir:
    description: Directory of the collection on the box. Logs, the wheel cache and the worktree are below C(build/).
    type: path
    default: /var/lib/gb10-vllm
  checkout:
    description: Git checkout of spark-vllm-docker on the box. Default is C(build/checkout) below O(state_dir). It is only read.
    type: path
  ref:
    description:
      - Full commit, tag or branch to build. A branch means the state of it that was fetched last; the commit is recorded.
      - Required for O(source=build).
    type: str
  wheels:
    description: Which vLLM goes into the image. What a version of the script lacks is refused before anything starts.
    type: str
    default: auto
    choices:
      auto: The project's own wheels where it publishes some, otherwise the latest release.
      prebuilt: The wheels that the project builds and tests (versions from 2026-03-04 on).
      release: The wheel of the latest vLLM release (versions before 2026-02-17).
      nightly: The newest nightly wheel (versions before 2026-02-17).
      none: Compile vLLM from source, about half an hour on a GB10.
  vllm_ref:
    description: vLLM commit, tag or branch to compile. Means O(wheels=none).
    type: str
  jobs:
    description: Number of compile jobs; the script's own default is 16. Lower it when compiling runs out of memory.
    type: int
  transformers:
    description: Which Transformers goes into the image.
    type: str
    default: default
    choices:
      default: What the version of the script installs.
      pre: A pre-release of version 5, for versions of the script that offer it.
  rebuild:
    description:
      - Parts to make anew although nothing changed. Acts in every run while it is set, so give it on the command line.
      - With O(source=prebuilt) or O(source=archive) any value pulls or loads again.
    type: list
    elements: str
    default: []
    choices: [all, vllm, flashinfer, deps]
  arguments:
    description: Further flags for C(build-and-copy.sh), checked against its C(--help).
    type: list
    elements: str
    default: []
  build_args:
    description: New defaults for ARGs of the Dockerfiles, for example a mirror's name for the base image. Never put a secret here.
    type: dict
    default: {}
  mods:
    description:
      - Mods of the project (directories with a C(run.sh) below C(mods/) of O(ref)), run once in the build, in this order, each as a layer of the image.
      - One of your own is named by the whole path of its directory on the controller, whose files come in O(mod_files); its last part is its name.
      - Only with O(source=build). One that needs the host or goes on beside the server is refused.
    type: list
    elements: str
    default: []
  mod_files:
    description:
      - The files of mods of your own, as the filter P(gb10.vllm.mod_files#filter) reads them; by C(mods/NAME) and path C(content) (Base64) and C(executable).
      - Their digest counts as an input of the image, and is that of a mod of the project with the same files.
    type: dict
    default: {}
  vllm_prs:
    description:
      - Pull requests of vLLM to apply, each with the SHA-256 of its diff, as C(40991) with C(sha256:...); one without is refused. Means O(wheels=none).
      - The diff is C(git diff --binary BASE PR) from the merge base with vLLM's main branch, as the project's Dockerfile makes it.
    type: dict
    default: {}
  uv_http_timeout_s:
    description: Seconds without data after which C(uv) gives up a download, inside the build and on the box.
    type: int
    default: 300
  uv_http_retries:
    description: How often C(uv) repeats a failed request.
    type: int
    default: 5
  ca_bundle:
    description: PEM file on the box with the certificate authorities that the downloads inside the build must trust.
    type: path
  image:
    description: Image to pull with O(source=prebuilt).
    type: str
    default: eugr/spark-vllm:latest
  digest:
    description: Digest (C(sha256:...)) that O(image) must have. Without it a moving tag is pulled once and then kept.
    type: str
  archive:
    description: File written by C(docker save), required for O(source=archive).
    type: path
  archive_on:
    description: Where that file lies. From the controller it is copied only when the box needs it.
    type: str
    default: box
    choices: [box, controller]
  archive_identity:
    description: Set by the action for a file on the controller; what the archive is known by on the box.
    type: str
  checksum:
    description: C(sha256:...) that the file of O(archive) must have.
    type: str
  min_free_gib:
    description: Free space (GiB) that Docker's disk must have before work starts. Default is 60, for O(archive) 2.2 times its size.
    type: float
  keep_previous:
    description: How many replaced images keep a name C(NAME:previous-TIME).
    type: int
    default: 1
  retries:
    description: How often a build or pull that failed because of the network is repeated.
    type: int
    default: 2
  retry_delay_s:
    description: Seconds before the first repetition; doubles each time.
    type: float
    default: 15
  timeout_s:
    description: Seconds after which the work is stopped.
    type: int
    default: 14400
  defer:
    description: Return RV(deferred=true) instead of starting work that takes long. The action asks with it before it goes into the background.
    type: bool
    default: false
seealso:
  - name: spark-vllm-docker
    description: The project whose script builds the image.
    link: https://github.com/eugr/spark-vllm-docker
"""

EXAMPLES = r"""
- name: Build the image at a pinned commit, with patience for a slow line
  gb10.vllm.image_build:
    ref: 358bf26e3d7d315450a6159ccdc0b38cbbd6b855
    uv_http_timeout_s: 900

- name: Use the project's own image, pinned
  gb10.vllm.image_build:
    source: prebuilt
    image: eugr/spark-vllm
    digest: "sha256:{{ '0' * 64 }}"

- name: Load what was carried here on a disk
  gb10.vllm.image_build:
    source: archive
    archive: /media/stick/vllm-node.tar
"""

RETURN = r"""
image:
  description: The image that has the name now; null when there is none yet (check mode).
  type: dict
  returned: success
  contains:
    id: {description: Image id., type: str, returned: always}
    name: {description: Name with tag., type: str, returned: always}
    labels: {description: The collection's labels on it., type: dict, returned: always}
    vllm_version: {description: Version of vLLM in it., type: str, returned: always}
    torch_version: {description: Version of torch in it., type: str, returned: always}
    cuda_version: {description: CUDA version torch was built for., type: str, returned: always}
    size_bytes: {description: Size., type: int, returned: always}
    architecture: {description: Architecture as Docker names it., type: str, returned: always}
    repo_digests: {description: Digests by which it can be pulled., type: list, elements: str, returned: always}
    metadata: {description: All versions found and the project's build metadata., type: dict, returned: always}
inputs:
  description: What the image is made from.
  type: dict
  returned: success
changed_inputs:
  description: What differs from the image that was there, each with RV(ignore:input), RV(ignore:before) and RV(ignore:after).
  type: list
  elements: dict
  returned: success
reason:
  description: Why something was done, empty when nothing was.
  type: str
  returned: success
log:
  description: Full log on the box, empty when nothing ran.
  type: str
  returned: always
last_lines:
  description: Last lines of the log. What the whole log says is explained in C(msg).
  type: list
  elements: str
  returned: failure
progress_file:
  description: File on the box that grows by a JSON line a second while something is done.
  type: str
  returned: success
steps:
  description: Number of build steps or layers.
  type: int
  returned: success
duration_s:
  description: Seconds the run took.
  type: float
  returned: success
deferred:
  description: Whether work was left undone because O(defer) asked for it.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gb10.vllm.plugins.module_utils._errors import GB10Error
from ansible_collections.gb10.vllm.plugins.module_utils._image.ensure import ImageBuild
from ansible_collections.gb10.vllm.plugins.module_utils._image.options import argument_spec, from_params


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "archive_on": {"type": "str", "default": "box", "choices": ["box", "controller"]},
            "defer": {"type": "bool", "default": False},
        },
        required_if=[("source", "build", ("ref",)), ("source", "archive", ("archive",))],
        supports_check_mode=True,
    )
    try:
        build = ImageBuild(
            from_params(module.params),
            check_mode=module.check_mode,
            defer=module.params["defer"],
            docker=module.get_bin_path("docker") or "docker",
            git=module.get_bin_path("git") or "git",
            warn=module.warn,
        )
        result = build.run()
    except GB10Error as error:
        module.fail_json(msg=str(error), **error.details)
    before = result.pop("before", None)
    if result["changed"]:
        result["diff"] = {"before": before or {}, "after": result["inputs"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
