/** The plugin of all networks of a life. */

/**
 * Makes and removes one interface, and writes down what it does. `hold-VERB` is taken by the next call of that verb,
 * which then does not go on until somebody ends it; `no-TYPE` has that type refuse to detach; `gc-TYPE` is what its last GC
 * was given.
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
