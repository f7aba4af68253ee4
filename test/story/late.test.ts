import { simulate } from './simulate.ts';

simulate('late', 0.09);
