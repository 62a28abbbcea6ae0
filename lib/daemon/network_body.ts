import {
  flag,
  integer,
  listOf,
  mapOf,
  mapped,
  objectOf,
  oneOf,
  orNull,
  type Shape,
  text,
} from "../cni/shape.ts";
import { DRIVERS, LARGEST_MTU, LARGEST_VLAN, type NetworkRequest } from "../network/network_request.ts";
import type { NetworkChange } from "../network/set_network.ts";

const TEXTS = listOf(text());

/** The body of `POST /v1/networks`: the options of `network create`, as JSON. */
export const NETWORK_BODY: Shape<NetworkRequest> = objectOf({ name: text() }, {
  driver: oneOf(DRIVERS),
  subnets: TEXTS,
  podCIDRs: TEXTS,
  template: text(),
  gateways: TEXTS,
  ranges: TEXTS,
  ipv6: flag,
  internal: flag,
  isolate: flag,
  publishable: flag,
  mtu: integer(1, LARGEST_MTU),
  vlan: integer(1, LARGEST_VLAN),
  dns: TEXTS,
  options: mapOf(text({ minLength: 0 })),
  pools: TEXTS,
  allowOverlap: flag,
});

/** The body of `POST /v1/networks/{name}`: the options of `network set`, as JSON; null for the default. */
export const NETWORK_CHANGE: Shape<NetworkChange> = mapped(
  objectOf({ mtu: orNull(integer(1, LARGEST_MTU)) }, {}),
  ({ mtu = null }) => ({ mtu }),
);
