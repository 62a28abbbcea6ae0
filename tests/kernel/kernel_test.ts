import { kernelSuite } from "./kernel_suite.ts";
import { KERNELS } from "./kernels.ts";

for (const tested of KERNELS) kernelSuite(tested);
