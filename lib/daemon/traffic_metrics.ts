import { type Clock, systemClock } from "../async/clock.ts";
import type { LinkCounters } from "../host/link_info.ts";
import type { InterfaceTraffic } from "../sandbox/traffic.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { writeCounter } from "./exposition.ts";
import { Reading } from "./reading.ts";

/** A sandbox with what its interfaces have carried. */
export interface SandboxTraffic extends Pick<Sandbox, "id" | "name" | "namespace"> {
  readonly interfaces: readonly InterfaceTraffic[];
}

const LABELS = ["id", "namespace", "name", "network", "interface"] as const;

const DIRECTIONS = [["rx", "receive", "received"], ["tx", "transmit", "sent"]] as const;

const COUNTERS: readonly (readonly [of: keyof LinkCounters, unit: string, what: string])[] = [
  ["bytes", "bytes", "Bytes"],
  ["packets", "packets", "Packets"],
  ["errors", "errors", "Errors of packets"],
  ["drops", "packets_dropped", "Dropped packets"],
];

/**
 * What the interfaces of all ready sandboxes have carried, for Prometheus. To read it, the namespace of each sandbox is entered, so
 * it is read again only after twenty times as long as that took.
 */
export class TrafficMetrics {
  readonly #reading: Reading<readonly SandboxTraffic[]>;

  constructor(read: () => Promise<readonly SandboxTraffic[]>, clock: Clock = systemClock) {
    this.#reading = new Reading(read, clock);
  }

  /** Returns the metrics in the text format; nothing if they cannot be read. */
  async write(): Promise<string> {
    const sandboxes = await this.#reading.get();
    if (sandboxes === undefined) return "";
    const series = sandboxes.flatMap(({ id, namespace, name, interfaces }) =>
      interfaces.map(({ ifName, network, rx, tx }) => ({
        labels: { id, namespace, name, network: network ?? "", interface: ifName },
        rx,
        tx,
      }))
    );
    const texts = DIRECTIONS.flatMap(([direction, word, done]) =>
      COUNTERS.map(([of, unit, what]) =>
        writeCounter(
          {
            name: `podwire_sandbox_network_${word}_${unit}_total`,
            help: `${what} that an interface of a sandbox has ${done}.`,
            labels: LABELS,
          },
          series.map((one) => ({ labels: one.labels, value: one[direction][of] })),
        )
      )
    );
    return texts.join("");
  }
}
