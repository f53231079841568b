#!/bin/bash
# A stand-in for the script of this name in eugr/spark-vllm-docker, written for the tests of gb10.vllm.
# It has the interface of that project in January 2026 (its flags, its --help, its use of the current directory as the
# context, its `docker build` without any environment passed on), and builds the real vLLM for CPU. Nothing of the
# original is in it.
set -e

tag=vllm-node
jobs=16
mode=
dockerfile=Dockerfile
vllm_ref=main
triton_ref=v3.6.0
extra=()

show_help() {
    cat <<'HELP'
Usage: build-and-copy.sh [OPTIONS]
  -t, --tag <tag>           : Name of the image (default: 'vllm-node')
  --rebuild-deps            : Install the dependencies anew
  --rebuild-vllm            : Install vLLM anew
  --triton-ref <ref>        : Triton commit, branch or tag (default: 'v3.6.0')
  --vllm-ref <ref>          : vLLM commit, branch or tag (default: 'main')
  -c, --copy-to <hosts>     : Copy the image to these hosts (comma or space between them)
      --copy-to-host        : The same as --copy-to
      --copy-parallel       : Copy to all hosts at the same time
  -j, --build-jobs <jobs>   : Compile jobs at the same time (default: 16)
  -u, --user <user>         : User for ssh (default: $USER)
  --use-wheels [mode]       : Install a finished vLLM. Mode is 'nightly' (default) or 'release'.
  --pre-flashinfer          : Use a pre-release of FlashInfer
  --pre-tf, --pre-transformers : Use a pre-release of Transformers 5
  --no-build                : Only copy (needs --copy-to)
  -h, --help                : Show this text
HELP
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
        -t|--tag) tag=$2; shift ;;
        -j|--build-jobs) jobs=$2; shift ;;
        --vllm-ref) vllm_ref=$2; shift ;;
        --triton-ref) triton_ref=$2; shift ;;
        -u|--user) shift ;;
        --rebuild-deps) extra+=(--build-arg "CACHEBUST_DEPS=$(date +%s)") ;;
        --rebuild-vllm) extra+=(--build-arg "CACHEBUST_VLLM=$(date +%s)") ;;
        --use-wheels)
            mode=nightly
            dockerfile=Dockerfile.wheels
            if [ -n "$2" ] && [ "${2#-}" = "$2" ]; then
                mode=$2
                shift
                if [ "$mode" != nightly ] && [ "$mode" != release ]; then
                    echo "Error: --use-wheels takes 'nightly' or 'release', not '$mode'."
                    exit 1
                fi
            fi
            [ "$mode" = nightly ] || extra+=(--build-arg WHEELS_FROM_GITHUB_RELEASE=1)
            ;;
        --pre-flashinfer) extra+=(--build-arg FLASHINFER_PRE=--pre) ;;
        --pre-tf|--pre-transformers) extra+=(--build-arg PRE_TRANSFORMERS=1) ;;
        -c|--copy-to|--copy-to-host|--copy-parallel|--no-build)
            echo "Error: this stand-in does not copy images."
            exit 1
            ;;
        -h|--help) show_help ;;
        *) echo "Unknown parameter: $1"; show_help ;;
    esac
    shift
done

command=(docker build -t "$tag" -f "$dockerfile" "${extra[@]}"
    --build-arg "TRITON_REF=$triton_ref" --build-arg "VLLM_REF=$vllm_ref" --build-arg "BUILD_JOBS=$jobs" .)
echo "Building with: ${command[*]}"
start=$SECONDS
"${command[@]}"
echo "Built $tag in $((SECONDS - start)) s."
