import { ShapingError } from "./kernel.ts";
import { explained } from "./explained.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { describeShaping, type Shaping, type ShapingChange } from "./shaping.ts";
import { addIngress, limitRate, redirectAll, stopLimit, stopRedirect } from "./shaping_request.ts";
import { findLink } from "./shown_links.ts";
import { showShaping } from "./shown_shaping.ts";

/** The kernel's words for a queue that is not there, or that is another one. */
const NOT_THERE = ["ENOENT", "EINVAL"];

/** Makes a change by netlink. @throws {ShapingError} */
export async function applyShaping(socket: NetlinkSocket, change: ShapingChange): Promise<void> {
  await explained(ShapingError, describeShaping(change), async () => {
    const { index } = await findLink(socket, change.device);
    switch (change.kind) {
      case "limit-rate":
        return await socket.change(limitRate(change.limit, index));
      case "redirect": {
        const target = await findLink(socket, change.to);
        await socket.change(addIngress(index));
        return await socket.change(redirectAll(index, target.index));
      }
      case "stop-limit":
        return await unlessGone(socket.change(stopLimit(index)));
      case "stop-redirect":
        return await unlessGone(socket.change(stopRedirect(index)));
    }
  });
}

/** Shows how the packets of an interface are queued. @throws {ShapingError} */
export async function shapingBySocket(socket: NetlinkSocket, device: string): Promise<Shaping> {
  return await explained(
    ShapingError,
    `show the queues of ${JSON.stringify(device)}`,
    () => showShaping(socket, device),
  );
}

async function unlessGone(removal: Promise<void>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (!(error instanceof NetlinkError) || !NOT_THERE.includes(error.errno)) throw error;
  }
}
