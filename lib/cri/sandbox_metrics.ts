import { create } from "@bufbuild/protobuf";
import type { InterfaceTraffic, SandboxTraffic } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";
import {
  type MetricDescriptor,
  MetricDescriptorSchema,
  MetricSchema,
  MetricType,
  type PodSandboxMetrics,
  PodSandboxMetricsSchema,
} from "./generated/api_pb.ts";

/** What the metrics of cAdvisor count, by their names, which dashboards know. */
const COUNTERS: readonly {
  readonly name: string;
  readonly help: string;
  readonly valueOf: (traffic: InterfaceTraffic) => number;
}[] = (["receive", "transmit"] as const).flatMap((way) => {
  const done = way === "receive" ? "received" : "transmitted";
  const doing = way === "receive" ? "receiving" : "transmitting";
  const of = ({ rx, tx }: InterfaceTraffic) => way === "receive" ? rx : tx;
  const name = (what: string) => `container_network_${way}_${what}_total`;
  return [
    { name: name("bytes"), help: `Bytes ${done}`, valueOf: (own: InterfaceTraffic) => of(own).bytes },
    { name: name("packets"), help: `Packets ${done}`, valueOf: (own: InterfaceTraffic) => of(own).packets },
    {
      name: name("packets_dropped"),
      help: `Packets dropped while ${doing}`,
      valueOf: (own: InterfaceTraffic) => of(own).drops,
    },
    {
      name: name("errors"),
      help: `Errors while ${doing}`,
      valueOf: (own: InterfaceTraffic) => of(own).errors,
    },
  ];
});

/** The labels that containerd and CRI-O give; a sandbox is the container "POD", which has no image. */
const LABELS: readonly string[] = ["id", "image", "namespace", "pod", "container", "interface"];

/** Returns the descriptors of all metrics that {@linkcode podSandboxMetrics} returns. */
export function metricDescriptors(): readonly MetricDescriptor[] {
  return COUNTERS.map(({ name, help }) =>
    create(MetricDescriptorSchema, { name, help, labelKeys: [...LABELS] })
  );
}

/** Returns what the interfaces of a sandbox have carried, as metrics; none if that is not known. */
export function podSandboxMetrics(
  { id, namespace, name: pod }: Sandbox,
  traffic: SandboxTraffic,
): PodSandboxMetrics {
  const timestamp = BigInt(Date.now()) * 1_000_000n;
  const metrics = (traffic ?? []).flatMap((own) =>
    COUNTERS.map(({ name, valueOf }) =>
      create(MetricSchema, {
        name,
        timestamp,
        metricType: MetricType.COUNTER,
        labelValues: [id, "", namespace, pod, "POD", own.ifName],
        value: { value: BigInt(valueOf(own)) },
      })
    )
  );
  return create(PodSandboxMetricsSchema, { podSandboxId: id, metrics });
}
