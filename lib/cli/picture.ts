/** A sandbox in the picture. */
export interface PicturedSandbox {
  readonly name: string;
  readonly addresses: readonly string[];
  /** The name of its link on the host. */
  readonly hostLink: string;
}

/** The bridge in the picture. */
export interface PicturedBridge {
  readonly name: string;
  readonly addresses: readonly string[];
}

const GAP = "   ";

/** Draws sandboxes side by side, each with its link, above the bridge that connects them. */
export function drawPicture(sandboxes: readonly PicturedSandbox[], bridge: PicturedBridge): string {
  const boxes = sandboxes.map((sandbox) => boxOf(sandbox));
  const height = Math.max(...boxes.map(({ lines }) => lines.length));
  const rows: string[] = [];
  for (let row = 0; row < height; row++) {
    rows.push(boxes.map(({ lines, width }) => lines[row] ?? centered("│", width, " ")).join(GAP).trimEnd());
  }
  const width = boxes.reduce((sum, box) => sum + box.width, 0) + GAP.length * (boxes.length - 1);
  const label = [bridge.name, ...bridge.addresses].join("  ");
  const inner = Math.max(width - 4, label.length);
  const joints = boxes.map(({ width }) => centered("┴", width, "─")).join("─".repeat(GAP.length));
  const top = `┌${joints.slice(1, -1).padEnd(inner + 2, "─")}┐`;
  rows.push(top, `│ ${label.padEnd(inner)} │`, `└${"─".repeat(inner + 2)}┘`);
  return `${rows.join("\n")}\n`;
}

function boxOf({ name, addresses, hostLink }: PicturedSandbox): { lines: readonly string[]; width: number } {
  const texts = [name, ...addresses.map((address) => `eth0 ${address}`)];
  const inner = Math.max(hostLink.length + 2, ...texts.map((text) => text.length));
  const width = inner + 4;
  const lines = [
    `┌${"─".repeat(inner + 2)}┐`,
    ...texts.map((text) => `│ ${text.padEnd(inner)} │`),
    `└${centered("┬", inner + 2, "─")}┘`,
    centered("│", width, " "),
    centered(hostLink, width, " "),
    centered("│", width, " "),
  ];
  return { lines, width };
}

function centered(text: string, width: number, fill: string): string {
  const left = Math.floor((width - text.length) / 2);
  return `${fill.repeat(left)}${text}${fill.repeat(width - text.length - left)}`;
}
