import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isArray, isObject, type JsonObject } from "../cni/json.ts";
import { integer, openObjectOf, orNull } from "../cni/shape.ts";
import { readConfig, section } from "./config_shape.ts";

/** A rate with what may go at once, as a configuration names them. */
export interface Bandwidth {
  /** In bits a second. */
  readonly rate: number;
  /** In bits. */
  readonly burst: number;
}

/** Configuration of the bandwidth plugin. */
export interface BandwidthConfig {
  /** Of what the container receives; undefined if that is not limited. */
  readonly ingress: Bandwidth | undefined;
  /** Of what the container sends; undefined if that is not limited. */
  readonly egress: Bandwidth | undefined;
  /** So long a packet may wait, in milliseconds. */
  readonly latency: number;
}

const DEFAULT_LATENCY = 25;
const LONGEST_LATENCY = 10_000;
/** In bytes; the kernel counts with 32 bits. */
const LARGEST_BURST = 2 ** 32 - 1;
/** The kernel counts bytes a second. */
const SMALLEST_RATE = 8;

const AMOUNT = orNull(integer(0, Number.MAX_SAFE_INTEGER));
const BANDWIDTH = { ingressRate: AMOUNT, ingressBurst: AMOUNT, egressRate: AMOUNT, egressBurst: AMOUNT };
/** What the plugin reads. */
export const BANDWIDTH_SHAPE = openObjectOf({}, {
  ...BANDWIDTH,
  latency: orNull(integer(1, LONGEST_LATENCY)),
  runtimeConfig: section({ bandwidth: section(BANDWIDTH) }),
});

/** The plugin of the CNI project had these from 1.5 to 1.6, and took them back. */
const WITHDRAWN = ["shapedSubnets", "unshapedSubnets"];

/**
 * Reads and validates the configuration. If it has a rate or a burst of its own, those of `runtimeConfig` do not count.
 *
 * @throws {CniError} With the code 2 for a field that is not supported, 7 for an invalid one.
 */
export function readBandwidthConfig(config: JsonObject): BandwidthConfig {
  const { runtimeConfig, latency, ...own } = readConfig(BANDWIDTH_SHAPE, config);
  const runtime = isObject(config.runtimeConfig) ? config.runtimeConfig.bandwidth : undefined;
  for (const source of [config, runtime]) if (source !== undefined && isObject(source)) refuseSubnets(source);
  const isOwn = Object.values(own).some((value) => value !== undefined);
  const { ingressRate, ingressBurst, egressRate, egressBurst } = isOwn ? own : runtimeConfig?.bandwidth ?? {};
  return {
    ingress: bandwidthOf("ingress", ingressRate ?? 0, ingressBurst ?? 0),
    egress: bandwidthOf("egress", egressRate ?? 0, egressBurst ?? 0),
    latency: latency ?? DEFAULT_LATENCY,
  };
}

function bandwidthOf(of: "ingress" | "egress", rate: number, burst: number): Bandwidth | undefined {
  if (rate === 0 && burst === 0) return undefined;
  if (rate < SMALLEST_RATE) {
    throw invalid(`${of}Rate must be at least ${SMALLEST_RATE} bits a second, not ${rate}`);
  }
  if (burst === 0) throw invalid(`${of}Burst must be set, because ${of}Rate is`);
  if (burst / 8 >= LARGEST_BURST) {
    throw invalid(`${of}Burst must be less than ${LARGEST_BURST * 8} bits: ${burst}`);
  }
  return { rate, burst };
}

function refuseSubnets(config: JsonObject): void {
  for (const key of WITHDRAWN) {
    const value = config[key] ?? null;
    if (value === null || (isArray(value) && value.length === 0)) continue;
    throw new CniError("config", `unsupported field "${key}"`, {
      code: ERROR_CODES.unsupportedField,
      details:
        "the CNI plugins project took it back with release 1.6: the queues that it needs were too slow",
    });
  }
}

function invalid(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
