// Loaded once by generic.cjs, which exercises the loader with it.
export const handler = async (event) => event;
