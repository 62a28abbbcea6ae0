# Runs a program on a machine of the tests' own: `sh tests/machine.sh PROGRAM [ARGUMENT...]`, as root.
#
# It has mount, network, process, IPC and UTS namespaces of its own. /usr, /etc, /var, /opt, /run and /tmp look as they do
# on this machine, but what is written there disappears when the program ends. The content of .components/tools lies over
# /usr and /etc as if it were installed. What a container engine or podwire has put there is hidden. Every process that
# the program leaves ends with it, and so does every control group, because the machine is one itself, of all controllers.
# Only the checkout and HOME are shared, and the sysctls that do not belong to a network.
#
# `--look` before the program gives it only the tools: it sees the network and the processes of this machine.
set -eu

what=machine
if [ "${1-}" = --look ]; then
  what=look
  shift
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
tools=$here/.components/tools
# As the first process it must reap what its children leave.
init=$here/.components/catatonit/usr/bin/catatonit

die() {
  printf 'machine: %s\n' "$*" >&2
  exit 125
}

# What belongs to container engines and to podwire, below /usr, /etc, /var and /opt.
hidden() {
  for name in runc crun youki catatonit conmon podman buildah crio crictl containerd containerd-shim-runc-v2 ctr \
    nerdctl docker dockerd cnitool podwire; do
    for folder in bin sbin local/bin local/sbin; do printf '/usr/%s/%s\n' $folder $name; done
  done
  printf '%s\n' /usr/lib/cni /usr/libexec/cni /usr/lib/podman /usr/libexec/podman /usr/share/containers \
    /usr/lib/podwire /usr/local/lib/cni /etc/cni /etc/podwire /etc/containers /etc/crio /etc/containerd /etc/netns \
    /var/lib/cni /var/lib/podwire /var/lib/containers /opt/cni
}

# The file systems of control groups: one, or one for each controller and that of version 2.
hierarchies() {
  sed -nE 's,^[^ ]+ (/sys/fs/cgroup[^ ]*) cgroup2? .*,\1,p' /proc/mounts
}

# Makes a group for the machine in each, with this process in it.
enter_groups() {
  group=${own##*/}
  for hierarchy in $(hierarchies); do
    mkdir "$hierarchy/$group"
    for file in cpuset.cpus cpuset.mems; do
      if [ -f "$hierarchy/$file" ] && [ ! -f "$hierarchy/cgroup.controllers" ]; then
        cat "$hierarchy/$file" >"$hierarchy/$group/$file"
      fi
    done
    echo $$ >"$hierarchy/$group/cgroup.procs"
  done
}

# In version 2 a group that has groups below it may have no processes.
enter_leaf() {
  for hierarchy in $(hierarchies); do
    [ -f "$hierarchy/cgroup.controllers" ] || continue
    mkdir "$hierarchy/${own##*/}/init"
    echo $$ >"$hierarchy/${own##*/}/init/cgroup.procs"
  done
}

# Everything in them was made on the machine, and its processes have been killed.
remove_groups() {
  group=${own##*/}
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=
    for hierarchy in $(hierarchies); do
      [ -d "$hierarchy/$group" ] || continue
      find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2>/dev/null || left=$hierarchy/$group
    done
    [ -n "$left" ] || return 0
    sleep 0.5
  done
  printf 'machine: the control group %s stays\n' "$left" >&2
}

# Lays an overlay over a folder: $1 takes what is written, $2... are our own folders.
overlay() {
  folder=$1
  shift
  [ -d "$folder" ] || die "Cannot make a machine: $folder is not a folder here"
  name=$own/over$(printf %s "$folder" | tr / -)
  mkdir -p "$name/upper" "$name/work"
  lower=
  for layer in "$@"; do [ ! -d "$layer" ] || lower=$lower$layer:; done
  mount -t overlay -o "lowerdir=$lower$folder,upperdir=$name/upper,workdir=$name/work" podwire-tests "$folder" ||
    die "Cannot make a machine: this kernel lays no overlay over $folder"
}

# Whether a folder and all above it belong to root alone, as the folders of programs must that root starts.
is_roots() {
  path=$1
  while :; do
    [ -z "$(find "$path" -maxdepth 0 \( ! -user 0 -o -perm /022 ! -perm -1000 \))" ] || return 1
    [ "$path" != / ] || return 0
    path=$(dirname "$path")
  done
}

# Keeps a folder visible whose parent is about to be replaced.
keep() {
  [ -d "$1" ] || return 0
  case $1/ in
    "$2"/*)
      mkdir -p "$3${1#"$2"}"
      mount --rbind "$1" "$3${1#"$2"}"
      ;;
  esac
}

case ${PODWIRE_TEST_MACHINE-} in
  '')
    [ "$(id -u)" = 0 ] || die "Cannot make a machine: only root can"
    # Not below /tmp alone: a name that no test makes, and that names its owner.
    own=$(mktemp -d "${TMPDIR:-/tmp}/podwire-tests.XXXXXX")
    chmod 755 "$own"
    trap '[ $what = look ] || remove_groups; rm -rf "$own"' EXIT
    export PODWIRE_TEST_MACHINE="$own"
    namespaces=--mount
    [ $what = look ] || namespaces="--mount --net --pid --ipc --uts --fork --kill-child"
    # In the background, because a shell gets no signal before its child has ended; `unshare` itself ignores TERM.
    exec 3<&0
    # shellcheck disable=SC2086 # several options
    set -- unshare $namespaces --propagation private sh "$0" "--$what" "$@"
    if [ $what = machine ]; then
      # The namespace of control groups begins at the group in which it is made.
      set -- sh "$0" --enter-groups unshare --cgroup sh "$0" --enter-leaf "$@"
    fi
    "$@" <&3 3<&- &
    child=$!
    trap 'kill -KILL $child' TERM INT HUP
    code=0
    wait $child || code=$?
    # A signal ends the wait, not yet the child.
    wait $child 2>/dev/null || :
    exit $code
    ;;
  /*) own=$PODWIRE_TEST_MACHINE ;;
  *) exec "$@" ;;
esac

case $1 in
  --enter-groups)
    shift
    enter_groups
    exec "$@"
    ;;
  --enter-leaf)
    shift
    enter_leaf
    exec "$@"
    ;;
  --machine) shift ;;
esac
mkdir "$own/tmp" "$own/tools"
chmod 1777 "$own/tmp"
mount -t tmpfs -o mode=755 podwire-tests "$own/tools"
mkdir "$own/tools/over" "$own/tools/tools" "$own/tools/run"
[ ! -d "$tools" ] || mount --bind "$tools" "$own/tools/tools"
tools=$own/tools/tools
tmp=$own/tmp
own=$own/tools
overlay /usr "$tools/usr"
overlay /etc "$tools/etc"
if [ $what = look ]; then
  export PODWIRE_TEST_MACHINE=look
  exec "$@"
fi
overlay /var
overlay /opt
hidden | while read -r path; do rm -rf "$path"; done

mount -t tmpfs -o mode=755 podwire-tests "$own/run"
mkdir -m 1777 "$own/run/lock"
for folder in "$here" "${HOME:-/root}" "${DENO_DIR:-${HOME:-/root}/.cache/deno}"; do
  keep "$folder" /run "$own/run"
  keep "$folder" /tmp "$tmp"
done
mount --rbind "$own/run" /run
# Root does not run plugins of a checkout that belongs to an ordinary user: the tests take a copy.
components=$here/.components
if [ -d "$components" ] && ! is_roots "$components"; then
  (umask 022 && mkdir /run/podwire-components && cd "$components" &&
    find . -mindepth 1 -maxdepth 1 -type d ! -name tools -exec cp -R {} /run/podwire-components/ \;)
  export PODWIRE_TEST_COMPONENTS=/run/podwire-components
fi

# The file system of /sys shows the network in which it was mounted. Below it are the control groups, of which the machine
# sees those in its own.
group=$(basename "$(dirname "$own")")
mkdir "$own/cgroup"
if [ "$(hierarchies)" = /sys/fs/cgroup ]; then mount --bind "/sys/fs/cgroup/$group" "$own/cgroup"; else
  mount -t tmpfs -o mode=755 podwire-tests "$own/cgroup"
  hierarchies | while read -r hierarchy; do
    mkdir "$own/cgroup/${hierarchy##*/}"
    mount --bind "$hierarchy/$group" "$own/cgroup/${hierarchy##*/}"
  done
fi
# Remove the others: OCI runtimes take the first one in the list of mounts.
umount -l /sys
mount -t sysfs sysfs /sys
mount --rbind "$own/cgroup" /sys/fs/cgroup
umount -l "$own/cgroup"
mount -t proc proc /proc
mount --rbind "$tmp" /tmp
hostname podwire-tests
ip link set lo up

export PODWIRE_TEST_MACHINE=inside TMPDIR=/tmp
if [ -x "$init" ]; then set -- "$init" -- "$@"; fi
# A shell lets its background processes ignore INT and QUIT, and nohup lets them ignore HUP.
if env --default-signal true 2>/dev/null; then set -- env --default-signal "$@"; fi
# Descriptors that the caller of the tests has left open would reach every program that they start. Not by this shell,
# which may support only ten.
if command -v bash >/dev/null; then
  # shellcheck disable=SC2016 # the dollars are the other shell's
  set -- bash -c 'for number in $(ls /proc/self/fd); do [ "$number" -le 2 ] || eval "exec $number>&-"; done; exec "$@"' \
    bash "$@"
fi
exec "$@"
