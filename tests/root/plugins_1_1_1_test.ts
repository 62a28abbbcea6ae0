// The engine with the reference plugins of release 1.1.1 on the real kernel.
import { registerLives } from "./plugins_life.ts";

registerLives("1.1.1");
