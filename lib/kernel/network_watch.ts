import { openLibc } from "../host/libc.ts";
import type { RunCommand } from "../host/command.ts";
import { speaksNetlink } from "./choose_kernel.ts";
import { NetlinkEvents } from "./netlink_events.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetworkEvent } from "./network_event.ts";

/** Watches the network of this machine until disposed of; see {@linkcode watchNetwork}. */
export type WatchNetwork = (onEvent: (event: NetworkEvent) => void) => Disposable | undefined;

/** A look costs a few microseconds. */
const LOOK_MS = 200;

/**
 * Returns what watches the network of the machine on which `run` runs programs. It returns undefined where that is not possible:
 * without the whole `--allow-ffi`, or if the kernel refuses it.
 */
export function watchNetwork(run: RunCommand, lookMs = LOOK_MS): WatchNetwork {
  return (onEvent) => {
    if (!speaksNetlink(run)) return undefined;
    const events = subscribe();
    if (events === undefined) return undefined;
    const timer = setInterval(() => {
      const event = events.take();
      if (event !== undefined) onEvent(event);
    }, lookMs);
    return {
      [Symbol.dispose]() {
        clearInterval(timer);
        events[Symbol.dispose]();
      },
    };
  };
}

function subscribe(): NetlinkEvents | undefined {
  try {
    return new NetlinkEvents(openLibc());
  } catch (error) {
    if (error instanceof NetlinkError) return undefined;
    throw error;
  }
}
