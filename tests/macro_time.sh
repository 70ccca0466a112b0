#!/usr/bin/env bash
# How much compile time a program of 1,000 ops adds: CPU seconds of rustc with it and with a program of one op.
# The macro runs unoptimised, as in everybody's debug build. Usage: tests/macro_time.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --lib
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT

program() { # LAYERS of 5 ops each
    echo 'use mil::prelude::*;'
    echo '#[mil_program]'
    echo 'fn net(x: Tensor<f32, 1, 16, 32, 32>, w: Weight<f32, 16, 16, 3, 3>, b: Weight<f32, 16>) -> _ {'
    echo '    let h0 = mb::relu(x);'
    for ((i = 0; i < $1; i++)); do
        echo "    let a = mb::conv(h$i, w, bias = b, strides = [1, 1], pad_type = \"same\");"
        echo '    let r = mb::relu(a);'
        echo "    let m = r * 0.5 + h$i;"
        echo "    let h$((i + 1)) = mb::sigmoid(m);"
    done
    echo "    h$1"
    echo '}'
    echo 'fn main() { let _ = net(); }'
}
program 0 >"$dir/small.rs"
program 200 >"$dir/large.rs"

library=$(ls -t target/debug/libmil.rlib target/debug/deps/libmil-*.rlib | head -1)
TIMEFORMAT='%U %S'
seconds() {
    { time rustc --edition 2024 --crate-name net --emit=metadata -o "$dir/net.rmeta" --extern "mil=$library" \
        -L dependency=target/debug/deps "$1"; } 2>&1 | tail -1 | awk '{ print $1 + $2 }'
}
for ((round = 0; round < ${1:-5}; round++)); do
    small=$(seconds "$dir/small.rs")
    large=$(seconds "$dir/large.rs")
    awk -v s="$small" -v l="$large" 'BEGIN { printf "1 op %.2f s, 1,001 ops %.2f s: %.2f s added\n", s, l, l - s }'
done
