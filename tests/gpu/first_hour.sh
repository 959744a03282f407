#!/usr/bin/env bash
# The first minutes on a GPU, spent in the order of their worth: its tests, `bench`, what other settings would gain, then
# the rows of configs/gpu-first.yaml, one after the other. Ends in time; what failed or is left is said at the end.
#
#     tests/gpu/first_hour.sh --out FOLDER --data-dir FOLDER [--time-limit MINUTES] [--wheels FOLDER] [--from FOLDER]
#                             [--dataset NAME] [--rows N] [--work FOLDER] [--rehearse]
#
# --out         gets what is worth carrying: at most eight files of at most 16 MiB, together below 60 MB
# --data-dir    images, see docs/data.md
# --time-limit  for all of it; default 8
# --wheels      wheels of packages that this machine lacks; nothing is fetched
# --from        what an earlier call left in its --out, to go on from; default: this call's --out
# --rows        of the suite, at most
# --work        where the work lies; default: in memory if there is room, else below TMPDIR. A later call on the same
#               machine goes on from it, also within a training
# --rehearse    the same on a CPU: an eighth of the width, few images; without --data-dir on the embedded digits
#
# PYTHON names the interpreter. Exit code 0 if nothing failed, 1 if something did, 2 for a mistake.
set -uo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..") python=${PYTHON:-python3} suite=gpu-first

fail() {
    echo "error: $1" >&2
    exit 2
}

out='' data='' minutes=8 wheels='' from='' dataset='' rows=1000 work='' rehearse=''
while [ $# -gt 0 ]; do
    case $1 in
    --rehearse) rehearse=yes && shift && continue ;;
    --out | --data-dir | --time-limit | --wheels | --from | --dataset | --rows | --work) ;;
    *) fail "$1 is no option; see the first lines of $0" ;;
    esac
    [ $# -gt 1 ] || fail "$1 needs a value"
    case $1 in
    --out) out=$(realpath -m "$2") ;;
    --data-dir) data=$(realpath -m "$2") ;;
    --time-limit) minutes=$2 ;;
    --wheels) wheels=$(realpath -m "$2") ;;
    --from) from=$(realpath -m "$2") ;;
    --dataset) dataset=$2 ;;
    --rows) rows=$2 ;;
    --work) work=$(realpath -m "$2") ;;
    esac
    shift 2
done
[ -n "$out" ] || fail "--out is missing: the folder for what is worth carrying"
[[ $minutes =~ ^[0-9]{1,4}(\.[0-9]{1,3})?$ ]] || fail "--time-limit takes minutes such as 8 or 2.5; got $minutes"
[[ $rows =~ ^[0-9]{1,4}$ ]] || fail "--rows takes a whole number; got $rows"
limit=$(awk "BEGIN { print int(60 * $minutes) }")
[ "$limit" -ge 20 ] || fail "--time-limit is less than 20 seconds"
[ -n "$data$rehearse" ] || fail "--data-dir is missing: the folder with the images"
for folder in "$data" "$wheels" "$from"; do [ -z "$folder" ] || [ -d "$folder" ] || fail "there is no folder $folder"; done
if [ -z "$work" ]; then # checkpoints have half a GB and are written after every epoch
    work=${TMPDIR:-/tmp}/gpu-first
    free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ "${free:-0}" -gt 8000000 ] && [ -w /dev/shm ]; then work=/dev/shm/gpu-first; fi
fi
cd "$root" || exit 2
mkdir -p "$work/stages" "$work/logs" "$out" || fail "$work or $out cannot be made"
# Time for the last checkpoint, the summary and packing.
reserve=$((limit / 5 < 45 ? limit / 5 : 45))
left() { echo $((limit - reserve - SECONDS)); }
say() { printf '%4d s  %s\n' "$SECONDS" "$1"; }
carry() { "$python" tests/gpu/carry.py "$@"; }

if [ -n "$wheels" ] && [ ! -e "$work/site.done" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
        --upgrade --target "$work/site" "$wheels"/*.whl || fail "the wheels of $wheels cannot be installed"
    touch "$work/site.done"
fi
export PYTHONPATH=$root:$work/site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
checked=$("$python" - "$rehearse" 2>&1 <<'PYTHON'
import importlib, sys
needed = "torch numpy scipy pydantic yaml typer safetensors pyautoattack pyarrow PIL pooch jinja2 pandas tabulate pytest hypothesis"
missing = []
for name in needed.split():
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing.append(f"{name} ({error})")
if missing:
    sys.exit(f"missing: {', '.join(missing)}; give wheels of them with --wheels")
import torch
if not sys.argv[1] and not torch.cuda.is_available():
    sys.exit("torch finds no CUDA device; --rehearse runs on a CPU")
where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {where}")
PYTHON
) || fail "$checked"
say "$(tail -n 1 <<<"$checked")"
if [ -z "$(ls "$work/stages")" ] && [ -d "${from:-$out}" ]; then
    carry unpack "${from:-$out}" "$work" || fail "the files of ${from:-$out} cannot be unpacked"
fi
failures=0 device=cuda options=(${data:+--data-dir "$data"}) small=() variants=(--seconds 20)
if [ -n "$rehearse" ]; then
    device=cpu dataset=${dataset:-$([ -n "$data" ] || echo digits)} small=(--preset smoke)
    variants=(--seconds 1 --width 0.125)
fi
chosen=(${dataset:+--dataset "$dataset"} "${small[@]}")

# stage NAME SECONDS COMMAND...: at most so long, unless it has ended before; its output goes to a log, its end to one line.
stage() {
    local name=$1 seconds=$2 started=$SECONDS code rest note
    shift 2
    [ ! -e "$work/stages/$name" ] || return 0
    rest=$(left)
    if ((rest < 8)); then
        say "$name: left, the time is up"
        return 1
    fi
    ((seconds <= rest)) || seconds=$rest
    timeout --signal=INT --kill-after=15 "$seconds" "$@" >"$work/logs/$name.txt" 2>&1 </dev/null
    code=$?
    note=$(grep -v '^[[:space:]]*$' "$work/logs/$name.txt" | tail -n 1 | sed 's/^=* *//; s/ *=*$//' | cut -c 1-200)
    case $code in
    0) note="done: $note" ;;
    124 | 137) note="ended after its $seconds s: $note" ;;
    *) note="FAILED with code $code: $note" && failures=$((failures + 1)) ;;
    esac
    say "$name, $((SECONDS - started)) s, $note"
    if [[ $note != FAILED* ]]; then echo "$note" >"$work/stages/$name"; fi
    pack
}

pack() { carry pack "$work" "$out" || failures=$((failures + 1)); }

# row NUMBER ENTRY: an entry of the suite by `run`, which stops within an epoch in time and goes on from there. It starts
# to count four seconds late.
row() {
    local name started=$SECONDS code rest end
    name=$(printf 'row-%02d' "$1")
    [ ! -e "$work/stages/$name" ] || return 0
    rest=$(left)
    if ((rest < 12)); then
        say "$name and all after it: left, the time is up"
        return 1
    fi
    # Compiling the network takes a minute or two, more than it gains in so short a training.
    TORCH_COMPILE_DISABLE=1 timeout --signal=INT --kill-after=20 $((rest + reserve / 2)) "$python" -m benchmark run $suite \
        --set "methods=[$2]" "${chosen[@]}" "${options[@]}" --out "$work/runs" --device $device --jobs 1 \
        --time-limit "$((rest - 4))s" >"$work/logs/$name.txt" 2>&1 </dev/null
    code=$?
    end=$(grep -E 'error|left:|FAILED|failed' "$work/logs/$name.txt" | tail -n 1 | cut -c 1-200)
    if [ $code = 124 ] || [ $code = 137 ]; then
        say "$name, $((SECONDS - started)) s, cut, as the time is up; it goes on from its last checkpoint"
    elif [ $code != 0 ]; then
        failures=$((failures + 1))
        say "$name, $((SECONDS - started)) s, FAILED with code $code: ${end:-$(tail -n 1 "$work/logs/$name.txt" | cut -c 1-200)}"
    elif grep -q '^left: ' "$work/logs/$name.txt"; then
        say "$name, $((SECONDS - started)) s, stopped, as the time is up; it goes on from there"
    else
        say "$name, $((SECONDS - started)) s, done"
        echo "done" >"$work/stages/$name"
    fi
    pack
}

command -v nvidia-smi >/dev/null && nvidia-smi >"$work/logs/nvidia-smi.txt" 2>&1
stage tests $((limit * 18 / 100)) "$python" -m pytest -v --tb=short -p no:xdist -p no:cacheprovider --benchmark-skip \
    -o filterwarnings=default tests/gpu/test_training_on_gpu.py
# The steps of the first entry in bf16 and fp32, and the evaluation of its network.
entries=$(carry entries $suite)
measured="methods=[$(sed -n 1p <<<"$entries"),$(grep -m 1 '"fp32"' <<<"$entries")]"
stage bench $((limit * 12 / 100)) "$python" -m benchmark bench $suite --set "$measured" "${chosen[@]}" --device $device \
    --out "$work/bench"
stage variants $((limit * 6 / 100)) "$python" tests/gpu/variants.py "${variants[@]}"
number=0
while IFS= read -r entry && ((number < rows)); do
    number=$((number + 1))
    row $number "$entry" || break
done <<<"$entries"

{
    echo
    timeout $((limit - SECONDS > 10 ? limit - SECONDS : 10)) "$python" tests/gpu/carry.py summary "$work" $suite \
        "${chosen[@]}" || echo "FAILED: the summary"
    echo
    [ ! -e "$work/logs/variants.txt" ] || cat "$work/logs/variants.txt"
    for log in "$work"/stages/*; do [ ! -e "$log" ] || echo "${log##*/}: $(cat "$log")"; done
} >"$work/logs/summary.txt" 2>&1
cp "$work/logs/summary.txt" "$out/summary.txt"
pack
cat "$out/summary.txt"
echo "next: the same command, with --from $out on another machine; what it left behind there: $work"
((failures == 0)) || say "$failures failed; see the lines with FAILED, and the logs in records.tar.gz"
((failures == 0))
