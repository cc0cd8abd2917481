#!/bin/sh
# Installs what building and testing scruple needs: a C compiler, make, pkg-config and the libraries, with the system's package
# manager. Says what it does; silent and quick when nothing is missing; on a system it does not know it names the packages.
#   sh scripts/setup.sh            compiler, make, libraries, Check, a Python 3 for the test scripts
#   sh scripts/setup.sh ci         also strace, clang, the sanitizer and fuzzer runtimes, the aarch64 cross compiler, qemu-user and arm64 libraries
#   sh scripts/setup.sh oracle     also the Python packages that the oracle tests compare with, in build/venv
set -eu
cd "$(dirname "$0")/.."
what=${1:-build}

has_command() { command -v "$1" >/dev/null 2>&1; }

library_missing() {
    has_command pkg-config || return 0
    for lib in zlib libcjson libzip libxxhash libpcre2-8 libcrypto libutf8proc check; do
        pkg-config --exists "$lib" || return 0
    done
    return 1
}

build_missing() {
    has_command cc && has_command make && has_command python3 || return 0
    library_missing
}

debian_packages="gcc libc6-dev make pkg-config python3 zlib1g-dev libcjson-dev libzip-dev libxxhash-dev libpcre2-dev libssl-dev libutf8proc-dev check"
fedora_packages="gcc make pkgconf-pkg-config python3 zlib-devel cjson-devel libzip-devel xxhash-devel pcre2-devel openssl-devel utf8proc-devel check-devel"
arch_packages="gcc make pkgconf python zlib cjson libzip xxhash pcre2 openssl libutf8proc check"
alpine_packages="gcc musl-dev make pkgconf python3 zlib-dev cjson-dev libzip-dev xxhash-dev pcre2-dev openssl-dev utf8proc-dev check-dev"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif has_command sudo; then sudo "$@"
    else
        echo "setup: this needs root and there is no sudo; run as root: $*" >&2
        exit 4
    fi
}

apt_install() {
    echo "setup: installing with apt-get: $*"
    log=$(mktemp)
    if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
           apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: apt-get failed, see above" >&2
        exit 4
    fi
    rm -f "$log"
}

if build_missing; then
    if has_command apt-get; then apt_install $debian_packages
    elif has_command dnf; then
        echo "setup: installing with dnf: $fedora_packages"; as_root dnf -q -y install $fedora_packages
    elif has_command pacman; then
        echo "setup: installing with pacman: $arch_packages"; as_root pacman -S --noconfirm --needed $arch_packages
    elif has_command apk; then
        echo "setup: installing with apk: $alpine_packages"; as_root apk add -q $alpine_packages
    else
        echo "setup: no package manager known here. Please install a C17 compiler, make, pkg-config, Python 3 and the development" >&2
        echo "setup: files of zlib, cJSON, libzip, xxHash, PCRE2 (8 bit), OpenSSL (libcrypto), utf8proc and Check." >&2
        exit 4
    fi
    if build_missing; then
        echo "setup: something is still missing after the installation; needed: C compiler, make, pkg-config, python3, zlib cjson libzip xxhash pcre2 openssl utf8proc check" >&2
        exit 4
    fi
fi

can_fuzz() {
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return !p && n; }' |
        clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null
}

case $what in
build) ;;
ci)
    if ! has_command clang || ! can_fuzz || ! has_command strace || ! has_command aarch64-linux-gnu-gcc || ! has_command qemu-aarch64 ||
       [ ! -e /usr/lib/aarch64-linux-gnu/libcrypto.so ]; then
        has_command apt-get || { echo "setup: ci needs apt-get (strace, clang, gcc-aarch64-linux-gnu, qemu-user, arm64 libraries)" >&2; exit 4; }
        as_root dpkg --add-architecture arm64
        apt_install strace clang libclang-rt-14-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
            zlib1g-dev:arm64 libcjson-dev:arm64 libzip-dev:arm64 libxxhash-dev:arm64 libpcre2-dev:arm64 libssl-dev:arm64 libutf8proc-dev:arm64
    fi ;;
oracle)
    python=build/venv/bin/python
    if ! $python -c 'import torch, transformers, compressed_tensors, accelerate, safetensors, tokenizers, gguf, mlx_lm, numpy' >/dev/null 2>&1; then
        if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
            has_command apt-get && apt_install python3-venv
        fi
        echo "setup: installing the oracle packages into build/venv (torch, transformers, compressed-tensors, accelerate, safetensors, tokenizers, mlx, mlx-lm, gguf)"
        mkdir -p build
        python3 -m venv build/venv
        build/venv/bin/pip install -q torch==2.13.0
        build/venv/bin/pip install -q 'transformers==5.24.*' 'compressed-tensors==0.20.*' 'accelerate==1.*' 'safetensors==0.8.*' 'tokenizers==0.23.*' 'mlx[cpu]==0.32.*' 'mlx-lm==0.32.*' 'gguf==0.19.*' numpy
    fi ;;
*)
    echo "setup: unknown word '$what': build, ci or oracle" >&2
    exit 2 ;;
esac
