# The first process of the emulated machine that `./denow task test:kernel` starts. What changes is in /settings: the
# variables of the tests, and their command line as the positional parameters.
#
# Its first part runs in the initial RAM disk: it mounts the root of the machine around it, read-only, and lays memory
# over it. The second part runs on that: it runs the command and reports its exit code.
set -eu

if [ "${1-}" != --second ]; then
  export PATH=/bin
  /bin/busybox --install -s /bin
  mkdir -p /proc /sys /dev /around /over /new
  mount -t proc proc /proc
  mount -t devtmpfs dev /dev
  # The first serial line is the kernel's, with what goes wrong here; the second the command's; the third the report's.
  for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe $module; done
  # Nothing here needs fresh data: the machine around it does not change its programs meanwhile.
  mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 around /around
  mount -t tmpfs -o mode=755 over /over
  mkdir /over/upper /over/work
  mount -t overlay -o lowerdir=/around,upperdir=/over/upper,workdir=/over/work root /new
  mount -t proc proc /new/proc
  mount -t sysfs sysfs /new/sys
  mount -t devtmpfs dev /new/dev
  mkdir -p /new/dev/pts /new/dev/shm
  mount -t devpts devpts /new/dev/pts
  mount -t tmpfs -o mode=1777 shm /new/dev/shm
  mount -t tmpfs -o mode=755 run /new/run
  mount -t cgroup2 cgroup /new/sys/fs/cgroup
  cp /init /new/run/kernel-init
  cp /settings /new/run/kernel-settings
  umount /proc /dev
  exec switch_root /new /bin/sh /run/kernel-init --second
fi

. /run/kernel-settings
# The kernel loads the modules of a kind of link or rule when it is first asked for.
ln -s "$KERNEL_BUSYBOX" /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
mkdir -p /usr/lib/modules
ln -s "$KERNEL_MODULES" "/usr/lib/modules/$(uname -r)"
stty -F /dev/ttyS1 raw
# A terminal would make the tests write for eyes, each line twice.
mkfifo /run/kernel-output
cat /run/kernel-output >/dev/ttyS1 &
output=$!
cd "$KERNEL_CHECKOUT"
code=0
"$@" </dev/null >/run/kernel-output 2>&1 || code=$?
wait $output
echo $code >/dev/ttyS2
"$KERNEL_BUSYBOX" poweroff -f
