# Boots systemd as the first process of a machine of its own: `sh systemd_boot.sh DIR`, in a DIR that holds `place`,
# files and folders that are visible in it under the same path. It lives until standard input ends, and leaves
# nothing. DIR/pid holds the process whose namespaces it lives in.
set -eu
dir=$1
if [ "${2-}" != inside ]; then
  cgroup=/sys/fs/cgroup/unified
  [ -d $cgroup ] || cgroup=/sys/fs/cgroup
  cgroup=$cgroup/${dir##*/}
  mkdir "$cgroup"
  end() {
    echo 1 >"$cgroup/cgroup.kill" || kill -KILL "$(cat "$dir/pid")"
    wait
    while grep -q 'populated 1' "$cgroup/cgroup.events"; do sleep 0.1; done
    find "$cgroup" -depth -type d -exec rmdir {} +
  }
  trap end EXIT
  sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child \
    --propagation private sh "$0" "$2" inside' "$0" "$cgroup" "$dir" </dev/null >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
  read -r _ || :
  exit
fi

root=$dir/root
mkdir "$root"
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p etc/systemd/system dev opt proc root run srv sys tmp usr var/lib var/log
mount --bind /usr usr
mount -o remount,bind,ro usr
for name in bin sbin lib lib64; do
  if [ -L "/$name" ]; then cp -d "/$name" .; elif [ -d "/$name" ]; then mkdir $name && mount --bind "/$name" $name; fi
done
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin usr/local/sbin
cp -r /etc/alternatives /etc/group /etc/hosts /etc/ld.so.* /etc/nsswitch.conf /etc/passwd /etc/protocols /etc/services etc/ || :
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
# A mount; otherwise systemd would put the real one there.
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  : >dev/$name
  mount --bind /dev/$name dev/$name
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts

# Only these of Debian's units: those that boot a whole machine are left out.
units=/usr/lib/systemd/system
mkdir "$dir/units" "$dir/units/sysinit.target.wants" "$dir/units/sockets.target.wants"
for unit in basic exit final local-fs local-fs-pre multi-user network network-pre paths shutdown slices sockets \
  sysinit timers umount; do cp $units/$unit.target "$dir/units"; done
cp $units/systemd-exit.service $units/systemd-journald.service $units/systemd-journald*.socket "$dir/units"
ln -s ../systemd-journald.service "$dir/units/sysinit.target.wants"
ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket "$dir/units/sockets.target.wants"
mount --bind "$dir/units" usr/lib/systemd/system
# They would find the machine's own scripts and mounts.
mkdir "$dir/none"
mount --bind "$dir/none" usr/lib/systemd/system-generators

while read -r from to; do
  mkdir -p "./${to%/*}"
  if [ -d "$from" ]; then mkdir -p "./$to"; else : >"./$to"; fi
  mount --bind "$from" "./$to"
done <"$dir/place"

mount -t proc proc proc
# Only settings of the network are changed in the kernel from here.
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/lock run/systemd
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
mount --make-rshared /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=podwire-test TERM=dumb \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=0
