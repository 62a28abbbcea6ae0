import type { PublishedPort } from "../state/host_port.ts";

/**
 * Returns published ports as people read them, such as `127.0.0.1:8080->80/tcp`. Ports that follow each other on both sides are one
 * range, as in `8000-8010->80-90/tcp`.
 */
export function portTexts(ports: readonly PublishedPort[]): readonly string[] {
  const ranges: { readonly from: PublishedPort; count: number }[] = [];
  for (const port of ports) {
    const open = ranges.at(-1);
    if (open !== undefined && follows(open.from, open.count, port)) open.count++;
    else ranges.push({ from: port, count: 1 });
  }
  return ranges.map(({ from, count }) => textOf(from, count));
}

function follows(from: PublishedPort, count: number, port: PublishedPort): boolean {
  return port.hostIP === from.hostIP && port.protocol === from.protocol &&
    port.hostPort === from.hostPort + count && port.containerPort === from.containerPort + count;
}

function textOf({ hostIP, hostPort, containerPort, protocol }: PublishedPort, count: number): string {
  const range = (first: number) => count === 1 ? `${first}` : `${first}-${first + count - 1}`;
  return `${addressPrefix(hostIP)}${range(hostPort)}->${range(containerPort)}/${protocol}`;
}

/** Returns an address of the host as it stands before a port; nothing for all addresses. */
export function addressPrefix(hostIP: string): string {
  if (hostIP === "") return "";
  return hostIP.includes(":") ? `[${hostIP}]:` : `${hostIP}:`;
}
