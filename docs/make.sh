#!/bin/sh
# Makes the pictures of the README from the records of the demo: a plot and a screenshot of the report.
# Needs Chromium; pngquant and optipng make the screenshot smaller where they are installed.
#
#     docs/make.sh [RESULTS]    # a folder that may hold the demo's records already
set -eu
cd "$(dirname "$0")/.."
results=${1:-target/demo}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

cargo run --release --quiet -- demo --results "$results" >"$made/demo.txt"
cargo run --release --quiet -- report --results "$results" --out "$made/report.html" --plots "$made/plots"
mkdir -p docs/pictures
for plot in "$made"/plots/knn-*-k.svg; do
    cp "$plot" docs/pictures/knn-over-k.svg
done

for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null && break
done
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-color-profile=srgb \
    --user-data-dir="$made/profile" --window-size=1280,1100 --virtual-time-budget=5000 \
    --screenshot="$made/report.png" "file://$made/report.html" 2>"$made/browser.txt"
if command -v pngquant >/dev/null; then
    pngquant --force --output "$made/report.png" 128 "$made/report.png"
fi
if command -v optipng >/dev/null; then
    optipng -quiet -strip all "$made/report.png"
fi
cp "$made/report.png" docs/pictures/report.png
size=$(wc -c <docs/pictures/report.png)
if [ "$size" -gt 300000 ]; then
    echo "docs/pictures/report.png has $size bytes, more than 300 kB: install pngquant" >&2
    exit 1
fi
