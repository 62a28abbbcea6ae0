import { flag, integer, listOf, mapOf, objectOf, oneOf, type Shape, text } from "../cni/shape.ts";
import { DRIVERS, LARGEST_MTU, LARGEST_VLAN, type NetworkRequest } from "../network/network_request.ts";

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
