#!/usr/bin/env bash
# A stand-in for spark-vllm-docker's script as it is since July 2026, written for the tests of gb10.vllm: without flags it
# pulls, --use-wheels is a switch, wheels are kept in .wheel-cache and handed to the build as contexts of their own.
# Nothing of the original is in it. The other stand-in (tests/boxes/spark-vllm-docker) has the interface of January.
set -e

show_help() {
    cat <<'HELP'
Usage: build-and-copy.sh [OPTIONS]
  -t, --tag <tag>               : Name of the image (default: 'vllm-node')
  --use-wheels                  : Only the runner, from finished wheels
  --rebuild-flashinfer          : Compile FlashInfer
  --rebuild-vllm                : Compile vLLM
  --force-flashinfer-download   : Download the wheels of FlashInfer again
  --force-vllm-download         : Download the wheel of vLLM again
  --vllm-ref <ref>              : vLLM commit, branch or tag (default: 'main')
  -c, --copy-to [hosts]         : Copy the image
  -j, --build-jobs <jobs>       : Compile jobs at the same time (default: 16)
  --tf5                         : Deprecated, changes only the name (aliases: --pre-tf, --pre-transformers)
  --apply-vllm-pr <pr-or-url>   : Apply a patch to vLLM
  --apply-flashinfer-pr <pr-num>: Apply a patch to FlashInfer
  --full-log                    : The whole output of the builds (--progress=plain)
  --network <network>           : Docker network of the builds
  -h, --help                    : Show this text
HELP
    exit 1
}

tag=vllm-node use_wheels=false compile_vllm=false compile_flashinfer=false again=false vllm_ref=main jobs=16 more=()
while [ $# -gt 0 ]; do
    case "$1" in
        -t|--tag) tag=$2; shift ;;
        --use-wheels) use_wheels=true ;;
        --rebuild-vllm) compile_vllm=true ;;
        --rebuild-flashinfer) compile_flashinfer=true ;;
        --force-vllm-download|--force-flashinfer-download) again=true ;;
        --vllm-ref) vllm_ref=$2; compile_vllm=true; shift ;;
        --apply-vllm-pr) compile_vllm=true; shift ;;
        -j|--build-jobs) jobs=$2; shift ;;
        --full-log) more+=(--progress=plain) ;;
        --network) more+=(--network "$2"); shift ;;
        -h|--help) show_help ;;
        *) echo "Unknown parameter: $1"; show_help ;;
    esac
    shift
done

if ! $use_wheels && ! $compile_vllm && ! $compile_flashinfer && ! $again; then
    docker pull eugr/spark-vllm:latest
    docker tag eugr/spark-vllm:latest "$tag"
    exit
fi

mkdir -p .wheel-cache/flashinfer/regular .wheel-cache/vllm/regular
if $compile_flashinfer; then
    docker build --target flashinfer-export --output type=local,dest=.wheel-cache/flashinfer/regular "${more[@]}" --build-arg "BUILD_JOBS=$jobs" .
fi
if $compile_vllm; then
    docker build --target vllm-export --output type=local,dest=.wheel-cache/vllm/regular "${more[@]}" --build-arg "BUILD_JOBS=$jobs" --build-arg "VLLM_REF=$vllm_ref" .
elif $again || [ ! -e .wheel-cache/vllm/regular/vllm-prebuilt.whl ]; then
    echo "downloading the project's wheels (prebuilt-vllm-current)"
    date +%s%N > .wheel-cache/vllm/regular/vllm-prebuilt.whl
fi
echo "built $(git rev-parse HEAD) with UV_HTTP_TIMEOUT=$UV_HTTP_TIMEOUT"
docker build -t "$tag" "${more[@]}" --build-context flashinfer_wheels=.wheel-cache/flashinfer/regular \
    --build-context vllm_wheels=.wheel-cache/vllm/regular --build-arg "BUILD_JOBS=$jobs" .
