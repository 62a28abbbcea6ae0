# Runs a program where another release of iptables is in the place of this machine's, with the libraries that it needs:
# `sh with_iptables.sh BUSYBOX FOLDER PROGRAM [ARGUMENT...]`, as root. FOLDER has the unpacked packages of the release. Only
# what has a mount namespace of its own sees it.
set -eu

busybox=$1
exec unshare --mount --propagation private "$busybox" sh -euc '
  busybox=$1 root=$2
  shift 2
  # From here on nothing of this machine can be started until all of the C library is replaced.
  for folder in usr/sbin usr/lib64 lib64 usr/lib/*-linux-gnu lib/*-linux-gnu; do
    for file in "$root/"$folder/xtables-nft-multi "$root/"$folder/*.so.*; do
      [ -f "$file" ] || continue
      from=$("$busybox" readlink -f "$file")
      to=$("$busybox" readlink -f "${file#"$root"}")
      [ ! -f "$to" ] || "$busybox" mount --bind "$from" "$to"
    done
  done
  for folder in "$root"/usr/lib/*-linux-gnu/xtables; do "$busybox" mount --bind "$folder" "${folder#"$root"}"; done
  exec "$@"
' sh "$@"
