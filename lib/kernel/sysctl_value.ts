/** Whether two values of a kernel parameter are the same: the kernel prints numbers, spaces and lists of ranges in its own format. */
export function isSameValue(kept: string, wanted: string): boolean {
  return normalValue(kept) === normalValue(wanted);
}

function normalValue(text: string): string {
  const words = text.trim().split(/\s+/).map((word) =>
    /^[+-]?\d+$/.test(word) ? String(BigInt(word.replace("+", ""))) : word
  );
  const [list = "", ...more] = words;
  return more.length === 0 && /^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(list)
    ? normalRanges(list)
    : words.join(" ");
}

/** As in `net.ipv4.ip_local_reserved_ports`: sorted, with adjacent ranges merged. */
function normalRanges(list: string): string {
  const ranges = list.split(",").map((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return { first, last };
  }).sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const range of ranges) {
    const open = merged.at(-1);
    if (open !== undefined && range.first <= open.last + 1) open.last = Math.max(open.last, range.last);
    else merged.push({ ...range });
  }
  return merged.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`).join(",");
}
