import type { ServiceImpl } from "@connectrpc/connect";
import type { ImageService } from "./generated/api_pb.ts";
import { unimplemented } from "./grpc_error.ts";

/** The calls for images, as far as the kubelet and crictl need them to start. There are none. */
export function imageService(
  { stateDir }: { readonly stateDir: string },
): Partial<ServiceImpl<typeof ImageService>> {
  return {
    listImages: () => ({ images: [] }),
    // A streamed list of nothing has no message.
    streamImages: async function* () {},
    // Without an image in it, the answer says that the image is not there.
    imageStatus: () => ({}),
    removeImage: () => ({}),
    pullImage: () => {
      throw unimplemented("PullImage", "podwire makes the sandboxes of pods, and keeps no images");
    },
    imageFsInfo: () => ({
      imageFilesystems: [{
        timestamp: BigInt(Date.now()) * 1_000_000n,
        fsId: { mountpoint: stateDir },
        usedBytes: { value: 0n },
        inodesUsed: { value: 0n },
      }],
      containerFilesystems: [],
    }),
  };
}
