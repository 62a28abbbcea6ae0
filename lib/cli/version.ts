/** The version of podwire, as in `deno.json`. */
export const VERSION = "0.1.0";
