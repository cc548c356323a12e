#!/bin/sh
# Boots a Debian of its own in an emulated machine and lets check.py, beside this file, try docs/systemd there.
#
#   sh tests/systemd/boot.sh [WORK] [WALG_DAEMON_CLIENT]
#
# WORK (default: .work/systemd) keeps the system; WALG_DAEMON_CLIENT is WAL-G's compiled client, which then archives in
# place of check.py's own. Needs root, a network for Debian's packages, and debootstrap, qemu-system-x86 and e2fsprogs.
# Takes five to ten minutes. Nothing of it runs on this machine's own systemd.
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$project/.work/systemd}
client=${2:-}
root=$work/root

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "run this as root: debootstrap makes a system"
for program in debootstrap qemu-system-x86_64 mke2fs; do
    command -v "$program" >/dev/null || fail "$program is missing: apt-get install debootstrap qemu-system-x86 e2fsprogs"
done
mkdir -p "$work"

if [ ! -e "$work/root.complete" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase \
        --include=systemd-sysv,dbus,python3,python3-venv,postgresql-15,linux-image-cloud-amd64,initramfs-tools \
        bookworm "$root" >"$work/debootstrap.log" || fail "no Debian: see $work/debootstrap.log"
    touch "$work/root.complete"
fi

# walpy as an administrator installs it: an environment of its own, and a link in /usr/local/bin.
rm -rf "$work/wheels" "$root/opt/walpy" "$root/wheels"
"$(readlink -f "$project/.venv")/bin/pip" -q wheel -w "$work/wheels" -c "$project/constraints.txt" "$project"
cp -r "$work/wheels" "$root/wheels"
chroot "$root" python3 -m venv /opt/walpy
chroot "$root" /opt/walpy/bin/pip -q install --no-index --find-links /wheels walpy-pg
rm -rf "$root/wheels"
ln -sf /opt/walpy/bin/walpy "$root/usr/local/bin/walpy"

cp "$project/docs/systemd/walpy-daemon.service" "$root/etc/systemd/system/"
mkdir -p "$root/usr/local/lib/walpy-check"
cp "$project/tests/systemd/check.py" "$root/usr/local/lib/walpy-check/"
cp "$project/tests/systemd/walpy-check.service" "$root/etc/systemd/system/"
rm -f "$root/usr/local/bin/walg-daemon-client"
[ -z "$client" ] || cp "$client" "$root/usr/local/bin/walg-daemon-client"
printf '{"WALG_FILE_PREFIX": "/var/lib/postgresql/archive"}\n' >"$root/var/lib/postgresql/.walg.json"
printf 'WALG_LOG_LEVEL=DEVEL\n' >"$root/etc/default/walpy"
printf 'walpy-check\n' >"$root/etc/hostname"
printf '127.0.0.1 localhost walpy-check\n' >"$root/etc/hosts"
chroot "$root" sh -c 'mkdir -p /var/lib/postgresql/archive; chown postgres: /var/lib/postgresql/archive /var/lib/postgresql/.walg.json
    systemctl -q enable walpy-daemon.service walpy-check.service'

rm -f "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk" 4G
kernel=$(echo "$root"/boot/vmlinuz-*) initrd=$(echo "$root"/boot/initrd.img-*)
timeout 1800 qemu-system-x86_64 -accel tcg,thread=multi -m 2048 -smp 2 -display none -no-reboot -nic none \
    -serial "file:$work/console" -kernel "$kernel" -initrd "$initrd" \
    -append "root=/dev/vda rw console=ttyS0 panic=-1 net.ifnames=0 systemd.default_timeout_start_sec=900" \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" || fail "the machine did not end: see $work/console"
sed -n '/walpy-check: /s/.*walpy-check: //p' "$work/console" | tr -d '\r'
grep -q 'walpy-check: all passed' "$work/console" || fail "not all passed: see $work/console"
