// What every implementation of `Kernel` must do, on the real kernel.
import { addressSuite } from "./address_suite.ts";
import { callSuite } from "./call_suite.ts";
import type { TestedKernel } from "./kernels.ts";
import { createLinkSuite } from "./create_link_suite.ts";
import { linkSuite } from "./link_suite.ts";
import { moveLinkSuite } from "./move_link_suite.ts";
import { netnsSuite } from "./netns_suite.ts";
import { routeSuite } from "./route_suite.ts";
import { ruleSuite } from "./rule_suite.ts";
import { shapingSuite } from "./shaping_suite.ts";
import { showSuite } from "./show_suite.ts";
import { sysctlSuite } from "./sysctl_suite.ts";

/** Registers all tests for one implementation. */
export function kernelSuite(tested: TestedKernel): void {
  linkSuite(tested);
  createLinkSuite(tested);
  moveLinkSuite(tested);
  addressSuite(tested);
  shapingSuite(tested);
  showSuite(tested);
  routeSuite(tested);
  ruleSuite(tested);
  sysctlSuite(tested);
  callSuite(tested);
  netnsSuite(tested);
}
