#!/usr/bin/env bash
# extend.sh SOURCE BUILD SCRATCH: adds a driver (one folder, one line) and a workload (one file)
# to a copy-on-write view of the source tree, builds there incrementally, and runs both.
set -euo pipefail
if [ "${4:-}" != inside ]; then
  exec unshare --mount --propagation private "$0" "$1" "$2" "$3" inside
fi
source=$1 build=$2 scratch=$3 example=$1/tests/structure/example

cover() { # a copy-on-write view over a folder, thrown away with this namespace
  mkdir -p "$scratch/$2/upper" "$scratch/$2/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$scratch/$2/upper,workdir=$scratch/$2/work" "$1"
}
cover "$source" source
case $build in "$source"/*) ;; *) cover "$build" build ;; esac
cd "$source"

mkdir drivers/example workloads/example
cp "$example/driver.cpp.in" drivers/example/example.cpp
cp "$example/workload.cpp.in" workloads/example/touch.cpp
sed -i 's|^  X(null) |  X(example)      /* added by a test                     */ \\\n  X(null) |' drivers/registry.cpp
changed=$(cd "$scratch/source/upper" && find . -type f -not -path './build/*' | sort | tr '\n' ' ')
[ "$changed" = "./drivers/example/example.cpp ./drivers/registry.cpp ./workloads/example/touch.cpp " ] ||
  { echo "more was changed than promised: $changed"; exit 1; }

cmake --build "$build" --target sbench >"$scratch/build.log" 2>&1 || { tail -30 "$scratch/build.log"; exit 1; }
"$build/sbench" list --drivers | grep example
"$build/sbench" run --driver example --workload example --profile smoke --seed 1 --image-dir "$scratch" --image-size 2G \
  --output "$scratch/out" --format json --progress plain 2>"$scratch/run.log" >/dev/null || { tail -30 "$scratch/run.log"; exit 1; }
grep -o '"name": "example.touch/example[^"]*"' "$scratch/out/result.json"
