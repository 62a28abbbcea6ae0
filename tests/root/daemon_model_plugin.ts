/** The plugin of all networks of a life. */

/**
 * Makes and removes one interface, and records its calls. The next call of a verb takes `hold-VERB`, and then
 * waits until the file is removed; `no-TYPE` lets that type refuse to detach; `gc-TYPE` holds the input of
 * its last GC.
 */
export const LIFE_PLUGIN = `#!/bin/sh
here=\${0%/*} type=\${0##*/}
[ "$CNI_COMMAND" != GC ] || { cat >"$here/gc-$type"; exit 0; }
cat >/dev/null
say() { echo "$type $CNI_CONTAINERID $CNI_IFNAME $CNI_COMMAND $1" >>"$here/events"; }
refuse() { say refused; echo "{\\"cniVersion\\": \\"1.1.0\\", \\"code\\": 107, \\"msg\\": \\"will not\\"}"; exit 1; }
hold() {
  say began
  mv "$here/hold-$CNI_COMMAND" "$here/held.$$" 2>/dev/null || return 0
  while [ -e "$here/held.$$" ]; do sleep 0.05; done
}
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
ADD)
  hold
  [ "$type" != refuses ] || refuse
  nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" >/dev/null 2>&1 ||
    nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" type bridge || exit 1
  say done
  echo '{"cniVersion": "1.1.0"}' ;;
DEL)
  hold
  [ ! -e "$here/no-$type" ] || refuse
  [ -z "$CNI_NETNS" ] || nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME" 2>/dev/null
  say done ;;
esac
exit 0
`;
