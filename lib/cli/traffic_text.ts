import type { LinkCounters } from "../host/link_info.ts";
import type { InterfaceTraffic } from "../sandbox/traffic.ts";

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Prints a number of bytes with a unit, rounded to three digits, such as `1.25 MiB`. */
export function byteText(bytes: number): string {
  let [value, unit] = [bytes, "B"];
  for (const next of UNITS) {
    if (value < 1_000) break;
    [value, unit] = [value / 1_024, next];
  }
  return unit === "B" ? `${value} B` : `${Number(value.toPrecision(3))} ${unit}`;
}

/** Describes what an interface has carried; errors and drops only if there are any. */
export function trafficText({ ifName, rx, tx }: InterfaceTraffic): string {
  return `${ifName}: received ${directionText(rx)}, sent ${directionText(tx)}`;
}

function directionText({ bytes, packets, errors, drops }: LinkCounters): string {
  const parts = [`${packets} packets`, ...some(errors, "errors"), ...some(drops, "drops")];
  return `${byteText(bytes)} (${parts.join(", ")})`;
}

function some(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

/** What all interfaces of a sandbox have carried in one direction. */
export function sumOf(traffic: readonly InterfaceTraffic[], direction: "rx" | "tx"): LinkCounters {
  const sum = (of: keyof LinkCounters) => traffic.reduce((all, each) => all + each[direction][of], 0);
  return { bytes: sum("bytes"), packets: sum("packets"), errors: sum("errors"), drops: sum("drops") };
}
