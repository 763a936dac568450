#!/usr/bin/env bash
# Unpacks a Vulkan loader and SwiftShader, a Vulkan device in software, into .deps/vulkan: the `webgpu` device can then be tested on
# a machine without a GPU. Both come from Debian's packages, whose signatures apt checks; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=.deps/vulkan
[ -e "$folder/vk_swiftshader_icd.json" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo "needs Debian's or Ubuntu's apt-get; elsewhere put libvulkan.so.1, libvk_swiftshader.so and vk_swiftshader_icd.json into $folder" >&2
  exit 1
}

mkdir -p .deps
scratch=$(mktemp -d .deps/.vulkan.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
echo "fetching SwiftShader into $folder"
(
  cd "$scratch"
  download() { apt-get download -qq -o APT::Sandbox::User=root libvulkan1 chromium-common; }
  download 2>/dev/null || { apt-get update -qq && download; }
  for package in *.deb; do dpkg-deb -x "$package" unpacked; done
  mkdir vulkan
  cp -a unpacked/usr/lib/*-linux-gnu/libvulkan.so.1* vulkan/
  cp unpacked/usr/lib/chromium/libvk_swiftshader.so unpacked/usr/lib/chromium/vk_swiftshader_icd.json vulkan/
  for package in libvulkan1 chromium-common; do cp "unpacked/usr/share/doc/$package/copyright" "vulkan/copyright.$package"; done
)
rm -rf "$folder"
mv "$scratch/vulkan" "$folder"
