import { simulate } from './simulate.ts';

simulate('append', 0.09);
