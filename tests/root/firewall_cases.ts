/** Attachments for the firewall plugin, on machines with rules of others. */
import { type Attachment, DOCKER } from "./firewall_world.ts";

/** A machine, and what is attached there. */
export interface Case {
  /** What the machine has before. */
  readonly before?: string;
  /** Attachments, one after the other. */
  readonly attachments: readonly Attachment[];
}

export const A = { id: "a", ips: ["10.1.0.2/24"] };
const B = { id: "b", ips: ["10.1.0.3/24"] };
export const BOTH = ["10.1.0.2/24", "fd00:1::2/64"];
const SAME_BRIDGE = { ingressPolicy: "same-bridge" };
export const ISOLATED = { ingressPolicy: "isolated" };

/** The cases by their names. */
export const CASES: Readonly<Record<string, Case>> = {
  "an IPv4 address": { attachments: [A] },
  "an IPv6 address": { attachments: [{ ...A, ips: ["fd00:1::2/64"] }] },
  "both families": { attachments: [{ ...A, ips: BOTH }] },
  "four addresses": { attachments: [{ ...A, ips: [...BOTH, "10.2.0.2/16", "fd00:2::2/64"] }] },
  "an address with a full prefix": { attachments: [{ ...A, ips: ["10.1.0.2/32", "fd00:1::2/128"] }] },
  "no address": { attachments: [{ ...A, ips: [] }] },
  "no address, and an ingress policy": { attachments: [{ ...A, ips: [], config: SAME_BRIDGE }] },
  "three containers": {
    attachments: [A, B, { id: "c", ips: ["10.1.0.4/24"] }],
  },
  "two networks": { attachments: [A, { id: "b", ips: ["10.2.0.2/24"], network: "other", bridge: "br1" }] },
  "backend iptables": { attachments: [{ ...A, config: { backend: "iptables" } }] },
  "an empty backend": { attachments: [{ ...A, config: { backend: "" } }] },
  "a chain of the administrator": { attachments: [{ ...A, config: { iptablesAdminChainName: "ADMIN" } }] },
  "two chains of the administrator": {
    attachments: [A, { ...B, config: { iptablesAdminChainName: "ADMIN-2" } }],
  },
  "an empty name of that chain": { attachments: [{ ...A, config: { iptablesAdminChainName: "" } }] },
  "a zone, without firewalld": { attachments: [{ ...A, config: { firewalldZone: "pods" } }] },
  "an open ingress policy": { attachments: [{ ...A, config: { ingressPolicy: "open" } }] },
  "an empty ingress policy": { attachments: [{ ...A, config: { ingressPolicy: "" } }] },
  "version 0.4.0": { attachments: [{ ...A, cniVersion: "0.4.0" }] },
  "version 1.1.0": { attachments: [{ ...A, cniVersion: "1.1.0" }] },
  "rules of the administrator": {
    before: "iptables -w -N CNI-ADMIN; iptables -w -A CNI-ADMIN -s 10.9.0.0/16 -j DROP",
    attachments: [A, B],
  },
  "rules in FORWARD": {
    before: "iptables -w -A FORWARD -s 10.9.0.0/16 -j DROP; iptables -w -A FORWARD -j ACCEPT",
    attachments: [{ ...A, ips: BOTH }],
  },
  "the rules of Docker": { before: DOCKER, attachments: [{ ...A, ips: BOTH }, B] },
  "an isolated bridge after the rules of Docker": {
    before: DOCKER,
    attachments: [{ ...A, ips: BOTH, config: SAME_BRIDGE }],
  },
  "an isolated bridge": { attachments: [{ ...A, config: SAME_BRIDGE }] },
  "an isolated bridge in both families": { attachments: [{ ...A, ips: BOTH, config: SAME_BRIDGE }] },
  "two containers on an isolated bridge": {
    attachments: [{ ...A, config: SAME_BRIDGE }, { ...B, config: SAME_BRIDGE }],
  },
  "two isolated bridges": {
    attachments: [{ ...A, config: SAME_BRIDGE }, {
      ...{ id: "b", ips: ["10.2.0.2/24"], network: "other", bridge: "br1", config: SAME_BRIDGE },
    }],
  },
  "an open network after an isolated one": {
    attachments: [{ ...A, config: SAME_BRIDGE }, {
      ...{ id: "b", ips: ["10.2.0.2/24"], network: "other", bridge: "br1" },
    }],
  },
  "an isolated network after an open one": {
    attachments: [A, {
      ...{ id: "b", ips: ["10.2.0.2/24"], network: "other", bridge: "br1", config: SAME_BRIDGE },
    }],
  },
  "containers that are isolated": { attachments: [{ ...A, ips: BOTH, config: ISOLATED }] },
  "two networks of containers that are isolated": {
    attachments: [{ ...A, config: ISOLATED }, {
      ...{ id: "b", ips: ["10.2.0.2/24"], network: "other", bridge: "br1", config: ISOLATED },
    }],
  },
};
